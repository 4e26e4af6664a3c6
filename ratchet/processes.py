"""Child processes that do not outlive the one that started them."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, however it ends; elsewhere it does nothing.

    Called in the child: `subprocess.Popen(..., preexec_fn=die_with_parent)`, or first thing in a program.
    torchrun does neither, and a SIGKILL of it leaves workers that train on to the end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

"""Distributed training on the machine or pod that the step runs in."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ratchet.core.errors import Unavailable
from ratchet.processes import die_with_parent, stop
from ratchet.settings import child_env
from ratchet.training.failure import raise_failure
from ratchet.training.stopping import GRACE_S, StopRequest, stop_path_of

WORKER_ENV = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Without it cuBLAS gives other bits from run to run, and torch refuses it where bits must be the same."""
LAUNCHER = "ratchet.training.launch"
"""By name: importing it would import torch."""
MAX_RESTARTS = 2
"""A worker that is killed a third time would be killed again: memory is short, as a rule."""
_LINE_CHARS_MAX = 300
_BANNER = 'Traceback (most recent call last):\n  File "<frozen runpy>"'
"""Where torchrun's own exception begins; a worker's comes before it."""
_ROOT_CAUSE = re.compile(r"Root Cause.*?\brank\s*: (\d+).*?\bexitcode\s*: (-?\d+)", re.DOTALL)
_TORCHRUN_LINE = re.compile(r"^(?:[WEI]\d{4} .*torch/|=|-|\[/__w/|\[[WEI]\d{4} )")
_STOP_S_MAX = 10.0
_LOOK_S = 0.5
"""Between two looks at whether the training was asked to end. Its own end is seen at once."""


class TorchrunTrainer:
    """Starts W workers under torchrun; a worker that dies is restarted with all others, from the last checkpoint."""

    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        command = [
            *(sys.executable, "-m", LAUNCHER, "--rdzv-endpoint=127.0.0.1:0", f"--nproc-per-node={world_size}"),
            *(f"--max-restarts={MAX_RESTARTS}", "-m", module, str(spec_path)),
        ]
        # Without the first variable a restarted generation meets the dead one's addresses in the shared store and
        # hangs (pytorch#135712). The second keeps torchrun from warning that it sets it to 1 itself.
        env = child_env({**WORKER_ENV, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"})
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(
                command,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=env,
                preexec_fn=die_with_parent,
            )
            exit_code = wait_for(
                process, timeout_s=timeout_s, failure_path=failure_path, ask_to_stop=stop_path_of(failure_path).touch
            )
        if exit_code is None:
            last = last_words_of(log_path.read_text(errors="replace"))
            raise Unavailable(f"the training did not end in {timeout_s:g} s. The last line of its log: {last}")
        raise_failure(failure_path)
        if exit_code != 0:
            why = describe_workers(log_path.read_text(errors="replace"))
            raise Unavailable(f"torchrun ended with exit code {exit_code} after {MAX_RESTARTS} restarts: {why}")


def describe_workers(log: str) -> str:
    """Which worker failed first and how, from the end of torchrun's log: a signal, or an exit without an exception."""
    last = last_words_of(log)
    match = _ROOT_CAUSE.search(log)
    if match is None:
        return f"the last line of its log is: {last}"
    rank, code = match[1], int(match[2])
    how = f"ended with exit code {code}"
    if code < 0:
        how = f"was killed by {_signal_name(-code)}"
    if code == -signal.SIGKILL:
        how += " (the machine or its container ran out of memory, or it was killed by hand)"
    return f"worker {rank} {how}; the last line of its log is: {last}"


def last_words_of(log: str) -> str:
    """The last line that a worker wrote: with words in it, and none of torchrun's own."""
    lines = [line.strip() for line in (log.rpartition(_BANNER)[0] or log).splitlines()]
    own = (line for line in reversed(lines) if any(map(str.isalnum, line)) and not _TORCHRUN_LINE.match(line))
    return next(own, "(it is empty)")[:_LINE_CHARS_MAX]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def wait_for(
    process: subprocess.Popen[bytes], *, timeout_s: float, failure_path: Path, ask_to_stop: Callable[[], object]
) -> int | None:
    """The exit code, or None when it took too long and had to be stopped.

    ask_to_stop: called at a SIGTERM to this process. Then the training has 30 s to make a checkpoint and to end, and
    Unavailable says what it came to, unless it has just ended well.
    """
    deadline = time.monotonic() + timeout_s
    with StopRequest(ask_to_stop).listening() as request:
        exit_code: int | None = None
        while time.monotonic() < (deadline if request.made_at is None else min(deadline, request.made_at + GRACE_S)):
            with suppress(subprocess.TimeoutExpired):
                exit_code = process.wait(_LOOK_S)
                break
        else:
            try:
                raise_failure(failure_path)  # of before: what the workers write next is that they were stopped
            finally:
                stop(process, grace_s=_STOP_S_MAX)
        if request.made_at is not None and exit_code != 0:
            raise_failure(failure_path)
            raise Unavailable("the training was stopped by SIGTERM; the next attempt begins at its newest checkpoint")
    return exit_code

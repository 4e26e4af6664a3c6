"""A process that has imported everything and forks model servers on request: 0.1 s instead of 4 s of CPU time.

Standard input is a listening socket; one caller at a time is answered, and the next one when it has gone. A request is
one message: JSON `{"id", "argv", "env", "is_tethered"}` with two descriptors, a file that the server holds open while
it lives, and its log. The answer is `{"id", "pid"}`. The new process is a session of its own; at its end it appends
`exit <code>` to the file. When this process ends, the servers go on.

Forking is safe here because this process runs nothing: one thread, no event loop, no model, no tensor computed. BLAS
libraries make their threads anew after a fork.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from ratchet.processes import die_with_parent

OPTION = "--fork_server"
_REQUEST_BYTES_MAX = 1 << 20


def serve_forks(run: Callable[[list[str]], int], set_env: Callable[[Mapping[str, str]], None]) -> NoReturn:
    """Until it is killed. run: what a server does with its arguments; its result is the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps; the servers' codes are in their files
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy every page that holds an object
    listener = socket.socket(fileno=os.dup(0))
    while True:
        channel, _ = listener.accept()
        with channel, suppress(OSError):
            _answer(channel, listener, run, set_env)


def own_socket() -> None:
    """First thing, before importing: the caller reads from the socket which process this is."""
    with socket.socket(fileno=os.dup(0)) as listener:
        listener.listen()


def _answer(
    channel: socket.socket,
    listener: socket.socket,
    run: Callable[[list[str]], int],
    set_env: Callable[[Mapping[str, str]], None],
) -> None:
    """One caller's requests, until it goes."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, _REQUEST_BYTES_MAX, 2)
        if not data:
            return
        if os.fork() == 0:
            listener.close()
            os._exit(_be_server(json.loads(data), descriptors, channel, run, set_env))
        for descriptor in descriptors:
            os.close(descriptor)


def _be_server(
    request: Mapping[str, Any],
    descriptors: list[int],
    channel: socket.socket,
    run: Callable[[list[str]], int],
    set_env: Callable[[Mapping[str, str]], None],
) -> int:
    """In the child. It never returns into the loop of its parent, whatever happens."""
    held, log = descriptors
    code = 1
    try:
        os.setsid()
        if request["is_tethered"]:
            die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _redirect(log)
        channel.send(json.dumps({"id": request["id"], "pid": os.getpid()}).encode())
        channel.close()
        set_env(request["env"])
        sys.argv = [sys.argv[0], *request["argv"]]
        code = run(request["argv"])
    except SystemExit as error:
        # As Python itself ends: no code is 0, a text is 1.
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # The file begins with the server's record in the control plane's register.
    os.lseek(held, 0, os.SEEK_END)
    os.write(held, f"\nexit {code}".encode())
    return code


def _redirect(log: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)

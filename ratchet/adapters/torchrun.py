"""Distributed training on the machine or pod that the step runs in."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from ratchet.core.errors import Unavailable
from ratchet.processes import die_with_parent, stop
from ratchet.settings import child_env
from ratchet.training.failure import raise_failure

MAX_RESTARTS = 2
"""A worker that is killed a third time would be killed again: memory is short, as a rule."""
_LINE_CHARS_MAX = 300
_BANNER = 'Traceback (most recent call last):\n  File "<frozen runpy>"'
"""Where torchrun's own exception begins; a worker's comes before it."""
_ROOT_CAUSE = re.compile(r"Root Cause.*?\brank\s*: (\d+).*?\bexitcode\s*: (-?\d+)", re.DOTALL)
_TORCHRUN_LINE = re.compile(r"^(?:[WEI]\d{4} .*torch/|=|-|\[/__w/|\[[WEI]\d{4} )")
_STOP_S_MAX = 10.0


class TorchrunTrainer:
    """Starts W workers under torchrun; a worker that dies is restarted with all others, from the last checkpoint."""

    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}"),
            *(f"--max-restarts={MAX_RESTARTS}", "-m", module, str(spec_path)),
        ]
        # Without the first variable a restarted generation meets the dead one's addresses in the shared store and
        # hangs (pytorch#135712). The second keeps torchrun from warning that it sets it to 1 itself.
        env = child_env({"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"})
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(
                command,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=env,
                preexec_fn=die_with_parent,
            )
            exit_code = wait_for(process, timeout_s=timeout_s)
        raise_failure(failure_path)
        if exit_code is None:
            last = last_words_of(log_path.read_text(errors="replace"))
            raise Unavailable(f"the training did not end in {timeout_s:g} s. The last line of its log: {last}")
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


def wait_for(process: subprocess.Popen[bytes], *, timeout_s: float) -> int | None:
    """The exit code, or None when it had to be stopped. On SIGTERM torchrun stops its workers itself."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        stop(process, grace_s=_STOP_S_MAX)
        return None

"""A training that needs no other worker: one process on the machine or pod that the step runs in."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from ratchet.adapters.torchrun import MAX_RESTARTS, WORKER_ENV, last_words_of, wait_for
from ratchet.core.errors import Unavailable
from ratchet.processes import die_with_parent
from ratchet.settings import child_env
from ratchet.training.failure import raise_failure


class ChildProcessTrainer:
    """Implements ports.Trainer for `world_size` 1. A process that dies is started again, as torchrun does it; it goes
    on from its last checkpoint where it has one."""

    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        assert world_size == 1, "one process"
        deadline = time.monotonic() + timeout_s
        log_path.write_bytes(b"")
        for _ in range(1 + MAX_RESTARTS):
            timeout_left_s = max(0.0, deadline - time.monotonic())
            exit_code = _run_once(module, spec_path, log_path, failure_path, timeout_s=timeout_left_s)
            if exit_code is None:
                break
            raise_failure(failure_path)
            if exit_code == 0:
                return
        last = last_words_of(log_path.read_text(errors="replace"))
        if exit_code is None:
            raise Unavailable(f"the training did not end in {timeout_s:g} s. The last line of its log: {last}")
        how = f"exit code {exit_code}" if exit_code > 0 else signal.Signals(-exit_code).name
        raise Unavailable(
            f"the training ended by {how} after {MAX_RESTARTS} restarts; the last line of its log is: {last}"
        )


def _run_once(module: str, spec_path: Path, log_path: Path, failure_path: Path, *, timeout_s: float) -> int | None:
    """The exit code, or None when it had to be stopped."""
    with log_path.open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(spec_path)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env=child_env(WORKER_ENV),
            preexec_fn=die_with_parent,
        )
        return wait_for(process, timeout_s=timeout_s, failure_path=failure_path, ask_to_stop=process.terminate)

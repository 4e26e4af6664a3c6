"""A training that needs no other worker: one process on the machine or pod that the step runs in."""

import signal
import subprocess
import sys
from pathlib import Path

from ratchet.adapters.torchrun import last_words_of, wait_for
from ratchet.core.errors import Unavailable
from ratchet.processes import die_with_parent
from ratchet.settings import child_env
from ratchet.training.failure import raise_failure


class ChildProcessTrainer:
    """Implements ports.Trainer for `world_size` 1."""

    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        assert world_size == 1, "one process"
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(spec_path)],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=child_env({}),
                preexec_fn=die_with_parent,
            )
            exit_code = wait_for(process, timeout_s=timeout_s)
        raise_failure(failure_path)
        last = last_words_of(log_path.read_text(errors="replace"))
        if exit_code is None:
            raise Unavailable(f"the training did not end in {timeout_s:g} s. The last line of its log: {last}")
        if exit_code != 0:
            how = f"exit code {exit_code}" if exit_code > 0 else signal.Signals(-exit_code).name
            raise Unavailable(f"the training ended by {how}; the last line of its log is: {last}")

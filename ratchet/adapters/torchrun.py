"""Distributed training on the machine or pod that the step runs in."""

import subprocess
import sys
from pathlib import Path

from ratchet.core.errors import Unavailable
from ratchet.processes import die_with_parent, stop
from ratchet.settings import child_env

_MAX_RESTARTS = 2
_LOG_TAIL_CHARS = 2000
_STOP_S_MAX = 10.0


class TorchrunTrainer:
    """Starts W workers under torchrun; a worker that dies is restarted with all others, from the last checkpoint."""

    def run(self, *, module: str, spec_path: Path, world_size: int, log_path: Path, timeout_s: float) -> None:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}"),
            *(f"--max-restarts={_MAX_RESTARTS}", "-m", module, str(spec_path)),
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
            exit_code = _wait(process, timeout_s=timeout_s)
        if exit_code != 0:
            tail = log_path.read_text(errors="replace")[-_LOG_TAIL_CHARS:]
            what = f"did not end in {timeout_s:.0f} s" if exit_code is None else f"ended with exit code {exit_code}"
            raise Unavailable(f"The training {what}. The end of its log ({log_path}):\n{tail}")


def _wait(process: subprocess.Popen[bytes], *, timeout_s: float) -> int | None:
    """The exit code, or None when it had to be stopped. On SIGTERM torchrun stops its workers itself."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        stop(process, grace_s=_STOP_S_MAX)
        return None

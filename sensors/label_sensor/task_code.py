"""What the sensor knows of the code of tasks: checked once for each state of it, before a run starts."""

import logging
import threading
import time
from collections.abc import Callable

from ratchet.core.models.task_checks import TaskReport
from ratchet.core.runs import CodeState

log = logging.getLogger(__name__)

DIGEST_S_MAX = 10.0
"""How old a digest of the code may be: reading a task's source takes some 50 ms, a tick comes every 2 s."""

RETRY_S = 300.0
"""A problem older than this is looked for again when a run is due: a busy machine may have missed a deadline."""

TryOut = Callable[[str], TaskReport]


class TaskCodes:
    """The code of each task: whether it changed, and whether it trains. Safe to share between threads."""

    def __init__(self, digest_of: Callable[[str], str], check: TryOut) -> None:
        self._digest_of = digest_of
        self._check = check
        self._checking = threading.Lock()
        self._digests: dict[str, tuple[float, str]] = {}
        self._checked: dict[tuple[str, str, str], tuple[float, str]] = {}
        """When a state of the code was checked, and what was wrong."""

    def look(self, task: str, *, policy_digest: str) -> CodeState:
        """What is known without trying: a digest of at most DIGEST_S_MAX, and the problem that a check has found."""
        digest = self._fresh_digest(task)
        return CodeState(digest=digest, problem=self._known((task, policy_digest, digest)) or "")

    def try_out(self, task: str, *, policy_digest: str) -> CodeState:
        """As `look`, after a check unless this code was checked under these policies: seconds, once. Code that is not
        installed here is not checked, and holds nothing back."""
        digest = self._fresh_digest(task)
        key = (task, policy_digest, digest)
        with self._checking:
            if digest and self._known(key) is None:
                report = self._check(task)
                log.info("%s: %s", task, report.problem or report.not_checked or "the task's code trains")
                self._checked[key] = (time.monotonic(), report.problem)
        return CodeState(digest=digest, problem=self._known(key) or "")

    def _known(self, key: tuple[str, str, str]) -> str | None:
        """The problem, "" when there is none; None when it is to be tried."""
        checked_at, problem = self._checked.get(key, (float("-inf"), None))
        is_old = time.monotonic() - checked_at >= RETRY_S
        return None if problem is None or (problem and is_old) else problem

    def _fresh_digest(self, task: str) -> str:
        read_at, digest = self._digests.get(task, (float("-inf"), ""))
        if time.monotonic() - read_at >= DIGEST_S_MAX:
            digest = self._digest_of(task)
            self._digests[task] = (time.monotonic(), digest)
        return digest

"""When a server that runs counts as hung. Pure: the callers ask, and end it."""

from pydantic import BaseModel, ConfigDict

_BUSY_CPU_RATIO = 0.2
"""CPU seconds in a second, from which on a server that does not answer is at work."""


class HangLimits(BaseModel):
    """How long a server may be red before it is started again."""

    model_config = ConfigDict(frozen=True)

    red_s_max: float = 30.0
    """Of a server that says itself that it is ill, or that neither answers nor works."""
    busy_s_max: float = 180.0
    """Of one that does not answer and uses the CPU: a long computation ends, a loop without an end does not."""


class Redness(BaseModel):
    """A server's failed checks in a row, up to now."""

    model_config = ConfigDict(frozen=True)

    for_s: float
    """Since the first of them."""
    num_checks: int
    has_answered: bool
    """The last check: it says itself that it is ill. Else it did not answer in time."""
    cpu_s: float
    """What it has used of the CPU since the first failed check."""
    problem: str

    @property
    def is_busy(self) -> bool:
        return not self.has_answered and self.cpu_s > _BUSY_CPU_RATIO * self.for_s


def decide_hung(red: Redness, limits: HangLimits) -> str:
    """Why it must be started again; "" to wait. Three checks at least: a machine that sleeps makes any one fail."""
    limit_s = limits.busy_s_max if red.is_busy else limits.red_s_max
    if red.num_checks < 3 or red.for_s < limit_s:
        return ""
    return f"hung: {red.problem}, for {red.for_s:.0f} s (limit {limit_s:.0f} s)"


class HangWatch:
    """Adds up the checks of one process. The clock and its CPU time are passed in, in seconds."""

    def __init__(self, limits: HangLimits) -> None:
        self._limits = limits
        self._num_checks = 0
        self._since_s = self._cpu_since_s = 0.0
        self.red: Redness | None = None
        """None while it is well."""

    def note(self, problem: str, *, has_answered: bool, now_s: float, cpu_s: float) -> str:
        """One check; `problem` is "" when it went well. The result is that of `decide_hung`."""
        if not problem:
            self._num_checks, self.red = 0, None
            return ""
        if self._num_checks == 0:
            self._since_s, self._cpu_since_s = now_s, cpu_s
        self._num_checks += 1
        self.red = Redness(
            for_s=now_s - self._since_s,
            num_checks=self._num_checks,
            has_answered=has_answered,
            cpu_s=max(cpu_s - self._cpu_since_s, 0.0),
            problem=problem,
        )
        return decide_hung(self.red, self._limits)

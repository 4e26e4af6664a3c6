"""What it means that the same test rows judge again and again: the chance of an error is spent, not given anew. Pure.

Each judgement at a level of 5 % lets one worse challenger in twenty pass; a year of daily runs makes that many. So a
policy may state the chance that any worse challenger passes, over all judgements of the rows together. The k-th one
gets the share 1 / (k (k + 1)) of it. These shares add up to 1, so whatever the judgements have to do with each other,
and however long they go on, the stated chance holds (Bonferroni). The first ones, with few rows, get most; each new
version adds rows, which narrows the bounds faster than the falling level widens them (`benchmarks.gate` has the power).
"""

from ratchet.core.verdict import Reason

REUSE = "test_rows_reused"
"""The check that says how often the rows have judged."""
SPENT = "non_inferiority_of_all"
"""The check against what is left of the stated chance."""


def level_of(num_before: int, *, stated: float) -> float:
    """What the next judgement may spend of the stated chance. num_before: judgements by these rows before it."""
    number = num_before + 1
    return stated / (number * (number + 1))


def chance_of_any(num_judged: int, *, level: float) -> float:
    """The greatest chance that any of so many worse challengers passes where each is judged at this level."""
    return min(1.0, num_judged * level)


def describe_reuse(num_before: int | None, *, confidence: float, stated: float | None) -> Reason:
    """How often the test rows have judged. A policy that states a chance needs to know it."""
    if num_before is None:
        passed = stated is None
        text = "how often these test rows have judged before was not counted"
        return Reason(check=REUSE, value=None, limit=None, passed=passed, text=text)
    times = f"test rows of this task judged {num_before} challengers before this one"
    if stated is None:
        any_passed = chance_of_any(num_before + 1, level=1 - confidence)
        told = f"at {confidence:.0%} each, the chance that any worse one passes adds up to at most {any_passed:.0%}"
        return Reason(check=REUSE, value=num_before, limit=None, passed=True, text=f"{times}; {told}")
    level = level_of(num_before, stated=stated)
    told = f"{level:.2g} of the stated chance of {stated:.2g} is for this judgement"
    return Reason(check=REUSE, value=num_before, limit=None, passed=True, text=f"{times}; {told}")


def check_spent(chance: float, *, level: float, loss_max: float) -> Reason:
    """chance: of a gain as great as was seen, from a challenger that loses as much as the policy allows."""
    return Reason(
        check=SPENT,
        value=chance,
        limit=level,
        passed=chance <= level,
        text=f"a challenger that is {loss_max:.1%} worse would look as good with a chance of {chance:.2g}; {level:.2g} "
        "is left for this judgement",
    )

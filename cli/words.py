"""How much, how long ago and when, in the words of every command. Pure."""

from datetime import UTC, datetime

BAR_WIDTH = 24
"""Columns of a bar that stands for a whole."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def age_words(seconds: float) -> str:
    """The largest whole unit, rounded down: `3 d`, `1 h` (of 90 minutes), `12 min`, `0 s`. Never below 0."""
    whole_s = max(int(seconds), 0)
    for size_s, unit in _UNITS:
        if whole_s >= size_s:
            return f"{whole_s // size_s} {unit}"
    return "0 s"


def moment_words(at: datetime) -> str:
    """`2026-01-31 12:00:00 UTC`, to the second."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def bar(share: float, *, width: int = BAR_WIDTH) -> str:
    """`██████░░░░`; a little is not nothing, and not quite all is not all."""
    share = min(max(share, 0.0), 1.0)
    num_full = round(share * width)
    if 0 < share < 1:
        num_full = min(max(num_full, 1), width - 1)
    return "█" * num_full + "░" * (width - num_full)


def ago_words(at: datetime, *, now: datetime) -> str:
    """`3 h ago`."""
    return f"{age_words((now - at).total_seconds())} ago"

"""How long ago and when, in the words of every command. Pure."""

from datetime import UTC, datetime

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

"""`[[ScheduledTime]]` and the like in the parameters of recurring runs.

Known: RunUUID, Index, ScheduledTime and CurrentTime, the last two with an optional Go layout after a dot, as in
`[[ScheduledTime.2006-01-02]]`; without one the time is YYYYMMDDhhmmss in UTC. Anything else in brackets stays as it is.
"""

import re
from datetime import UTC, datetime
from typing import Any

_MACRO = re.compile(r"\[\[(RunUUID|Index|(?:ScheduledTime|CurrentTime)(?:\.[^\]]+)?)\]\]")
_DEFAULT_LAYOUT = "20060102150405"
_GO_LAYOUT = re.compile("2006|January|Jan|Monday|Mon|01|02|15|03|04|05|06|PM|MST")
_STRFTIME = {
    "2006": "%Y",
    "January": "%B",
    "Jan": "%b",
    "Monday": "%A",
    "Mon": "%a",
    "01": "%m",
    "02": "%d",
    "15": "%H",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "06": "%y",
    "PM": "%p",
    "MST": "%Z",
}


def expand_macros(value: Any, *, run_id: str, index: int, scheduled_at: datetime, now: datetime) -> Any:
    """The parameter with its macros replaced; only texts have any."""
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name, _, layout = match[1].partition(".")
        if name == "RunUUID":
            return run_id
        if name == "Index":
            return str(index)
        return _formatted(scheduled_at if name == "ScheduledTime" else now, layout or _DEFAULT_LAYOUT)

    return _MACRO.sub(replaced, value)


def _formatted(at: datetime, layout: str) -> str:
    # A % of the text itself is no directive of strftime.
    pattern = _GO_LAYOUT.sub(lambda match: _STRFTIME[match[0]], layout.replace("%", "%%"))
    return at.astimezone(UTC).strftime(pattern)

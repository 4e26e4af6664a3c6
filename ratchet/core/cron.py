"""Cron expressions as Kubeflow reads them: six fields, seconds first. Pure."""

import re

from ratchet.core.errors import DataRejected

_FIELD = re.compile(r"[\d*?,/\-A-Za-z]+")
_SHORTHAND = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every [\dhms]+)")
_NUM_FIELDS = 6


def check_cron(text: str) -> str:
    """The expression, when it says what its author means; the server checks its numbers.

    Five fields are refused, because Kubeflow's parser (robfig/cron v1) takes them for six with the last left out:
    `0 9 * * 1` is there every hour at 9 past, in January.
    """
    cron = " ".join(text.split())
    if _SHORTHAND.fullmatch(cron):
        return cron
    fields = cron.split(" ")
    if len(fields) == _NUM_FIELDS - 1:
        raise DataRejected(
            f"{text!r} has five fields; Kubeflow reads six, seconds first, and would run at other times than you mean. "
            f"Write '0 {cron}'."
        )
    if len(fields) != _NUM_FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        raise DataRejected(
            f"{text!r} is not a schedule. Write six fields, 'second minute hour day month weekday', such as "
            "'0 0 3 * * *' (each day at 03:00), or '@daily', '@every 6h'."
        )
    return cron

"""Pinned cases: examples with their right answer that no new model may lose. Pure.

A line of `configs/tasks/<task>.golden.jsonl` is a label line, with a name (`case`) and a reason. A verdict calls a case
by its name alone: verdicts stay, and an id can be erased. Shape suffixes: C cases.
"""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ratchet.core.errors import DataRejected
from ratchet.core.labels.answers import is_right
from ratchet.core.labels.parsing import Row, parse_label
from ratchet.core.labels.rendering import render_opinion
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, OutputSpec
from ratchet.core.lines import read_objects, split_lines
from ratchet.core.verdict import Reason
from wire.printable import printable
from wire.validation_text import found_text

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy

CASES_MAX = 10_000
"""Each is answered by both models in every evaluation, and people chose each by hand."""
_REASON_CHARS_MAX = 500
_NAMED_MAX = 10
"""Cases that a sentence of a verdict names; the page has all of them."""
_NAME = re.compile(r"[\w.-]{1,60}")
_NEXT_STEP = "Correct or delete that line; `ratchet models pin-case` writes such lines."


class PinnedCase(NamedTuple):
    name: str
    row: Row
    """The fields of a label line; a picture is a `GivenImage`."""
    reason: str = ""

    @property
    def id(self) -> str:
        return str(self.row["id"])


class CaseAnswers(NamedTuple):
    """Which cases were answered rightly."""

    names: Sequence[str]
    challenger_right_C: np.ndarray
    champion_right_C: np.ndarray | None
    """None before the first champion."""
    trained: Sequence[str] = ()
    """Names of the cases that the challenger was trained on."""


def parse_cases(data: bytes, schema: ExampleSchema, *, where: str) -> tuple[PinnedCase, ...]:
    """Of a whole file. DataRejected names file, line and next step; a case without a name is called by its line."""
    if isinstance(schema.output, NumberOutput) and schema.output.tolerance is None and data.strip():
        raise DataRejected(
            f"{where}: the output has no `tolerance`, so no number can be called right. Set "
            "output.tolerance in the task file, or remove the pinned cases."
        )
    cases: list[PinnedCase] = []
    places: dict[tuple[str, str], str] = {}
    for place, value in read_objects(split_lines(data), where=where, next_step=_NEXT_STEP):
        case = _parse_case(value, schema, place=place)
        for key in (("case", case.name), ("id", case.id)):
            if key in places:
                raise DataRejected(
                    f"{place}: the {key[0]} {printable(key[1])!r} is that of {places[key]} too. {_NEXT_STEP}"
                )
            places[key] = place
        cases.append(case)
    if len(cases) > CASES_MAX:
        raise DataRejected(f"{where}: {len(cases):,} pinned cases; the limit is {CASES_MAX:,}. Unpin some.")
    return tuple(cases)


def _parse_case(value: dict[str, Any], schema: ExampleSchema, *, place: str) -> PinnedCase:
    fields = dict(value)
    name, reason = fields.pop("case", f"line-{place.rpartition(' ')[2]}"), fields.pop("reason", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        found = found_text(name)
        raise DataRejected(f"{place}: `case` must be 1 to 60 letters, digits, . _ or -, found {found}. {_NEXT_STEP}")
    if not isinstance(reason, str) or len(reason) > _REASON_CHARS_MAX:
        found = found_text(reason)
        raise DataRejected(
            f"{place}: `reason` must be a text of at most {_REASON_CHARS_MAX} characters, found {found}. {_NEXT_STEP}"
        )
    return PinnedCase(name, parse_label(fields, schema, where=place, next_step=_NEXT_STEP), reason)


def render_cases(cases: Sequence[PinnedCase], schema: ExampleSchema) -> bytes:
    """The file, which `parse_cases` reads as the same cases."""
    lines = []
    for case in cases:
        said = json.loads(render_opinion(case.row, schema))
        more = {"reason": case.reason} if case.reason else {}
        lines.append(json.dumps({"case": case.name, **said, **more}, ensure_ascii=False, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def with_pinned(cases: Sequence[PinnedCase], rows: Sequence[Row], *, reason: str) -> tuple[PinnedCase, ...]:
    """The cases and these rows, each under the next free name. DataRejected when an id is pinned already."""
    by_id, taken = {case.id: case.name for case in cases}, {case.name for case in cases}
    numbers = [int(name[5:]) for name in taken if re.fullmatch(r"case-\d{1,9}", name)]
    number, found = max(numbers, default=0), list(cases)
    for row in rows:
        if row["id"] in by_id:
            shown = printable(str(row["id"]))
            raise DataRejected(
                f"{shown!r} is pinned already, as {by_id[row['id']]}. Unpin it first to change its label."
            )
        number += 1
        by_id[str(row["id"])] = f"case-{number}"
        found.append(PinnedCase(f"case-{number}", row, reason))
    return tuple(found)


def mark_right(answers: Sequence[object], labels: Sequence[object], output: OutputSpec) -> np.ndarray:
    """(C,) bool. An answer that cannot be compared with its label is not right."""
    tolerance = output.tolerance if isinstance(output, NumberOutput) else None
    pairs = zip(answers, labels, strict=True)
    return np.array([is_right(answer, label, tolerance=tolerance) is True for answer, label in pairs], dtype=bool)


def check_cases(answers: CaseAnswers, policy: "EvaluationPolicy") -> list[Reason]:
    """None without cases. A wrong answer refuses where the champion's is right, or there is no champion; where both are
    wrong the policy decides."""
    if not answers.names:
        return []
    wrong_C = ~answers.challenger_right_C
    before_C = np.ones_like(wrong_C) if answers.champion_right_C is None else answers.champion_right_C
    lost, both = _named(answers.names, wrong_C & before_C), _named(answers.names, wrong_C & ~before_C)
    than = "" if answers.champion_right_C is None else " that the champion answers rightly"
    num, refuses = len(answers.names), policy.cases_both_wrong == "refuse"
    reasons = [
        Reason(
            check="cases",
            value=len(lost),
            limit=0,
            passed=not lost,
            text=f"the challenger is wrong on {len(lost)} of {num} pinned cases{than}{_listed(lost)}; none is allowed",
        )
    ]
    if both:
        told = "none is allowed" if refuses else "this does not refuse (`cases_both_wrong: report`)"
        text = f"challenger and champion are both wrong on {len(both)} of {num} pinned cases{_listed(both)}; {told}"
        reasons.append(
            Reason(
                check="cases_both_wrong", value=len(both), limit=0 if refuses else None, passed=not refuses, text=text
            )
        )
    if answers.trained:
        text = (
            f"the challenger was trained on {len(answers.trained)} of {num} pinned cases{_listed(answers.trained)}: "
            "they were pinned after its training, so its answers prove nothing. Start the run again, with "
            "`ratchet run retrain --again`"
        )
        reasons.append(Reason(check="cases_trained", value=len(answers.trained), limit=0, passed=False, text=text))
    return reasons


def _named(names: Sequence[str], which_C: np.ndarray) -> list[str]:
    return [name for name, is_one in zip(names, which_C.tolist(), strict=True) if is_one]


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f" ({', '.join(names[:_NAMED_MAX])}{more})"

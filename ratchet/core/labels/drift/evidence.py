"""What many looks at many columns may claim together, as e-values. Pure.

An e-value is at least 0 and 1 at most on average while nothing drifts. Those of one column are added up look after look
with weights that sum to 1, so that the sum is an e-value too, whatever the looks have in common: all of them compare
with the same known rows. By Markov it reaches 1 / alpha with a chance of alpha at most, on any day of all. The
columns then share alpha by e-BH (Wang, Ramdas, "False discovery rate control with e-values", 2022), which asks
nothing of their dependence.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict

_POWER = 0.1
"""Of the calibrator; most gain at p = e^(-1/0.1) = 5e-5, where 20 columns are decided."""
_E_MAX = 1e280
_WEIGHT_SUM = 2.1097428
"""Sum over n >= 2 of 1 / (n ln^2 n)."""


class DriftEvidence(BaseModel):
    """What is known from earlier looks; kept with the last verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = ""
    """What was compared with. Evidence against another reference says nothing of this one; looks go on counting."""
    subject: str = ""
    """What was looked at. A step that is retried looks at the same, and counts once."""
    num_looks: int = 0
    e_values: dict[str, float] = {}
    """Of each column, this look included."""
    before: dict[str, float] = {}
    """The same without the last look."""
    has_alarmed: bool = False
    """Drift was found against this reference. The next reference begins a new count."""


class DriftLook(BaseModel):
    """One more look at a reference."""

    model_config = ConfigDict(frozen=True)

    reference: str
    subject: str
    number: int
    """Counted from 1."""
    before: dict[str, float]

    @property
    def weight(self) -> float:
        return look_weight(self.number)

    def add(self, p_values: Mapping[str, float]) -> dict[str, float]:
        """The e-value of each column after this look."""
        return {
            name: min(self.before.get(name, 0.0) + self.weight * e_value_of(p), _E_MAX) for name, p in p_values.items()
        }

    def after(self, e_values: dict[str, float], *, is_alarm: bool) -> DriftEvidence:
        return DriftEvidence(
            reference=self.reference,
            subject=self.subject,
            num_looks=self.number,
            e_values=e_values,
            before=self.before,
            has_alarmed=is_alarm,
        )


def next_look(evidence: DriftEvidence | None, *, reference: str, subject: str) -> DriftLook:
    """The look that follows what is known."""
    if evidence is None:
        return DriftLook(reference=reference, subject=subject, number=1, before={})
    if (evidence.reference, evidence.subject) == (reference, subject):
        return DriftLook(
            reference=reference, subject=subject, number=max(evidence.num_looks, 1), before=evidence.before
        )
    if evidence.reference == reference:
        return DriftLook(reference=reference, subject=subject, number=evidence.num_looks + 1, before=evidence.e_values)
    number = 1 if evidence.has_alarmed else evidence.num_looks + 1
    return DriftLook(reference=reference, subject=subject, number=number, before={})


def look_weight(number: int) -> float:
    """Share of the false alarms that look `number`, counted from 1, may cause. It falls little faster than 1 /
    number."""
    return float(1 / ((number + 1) * np.log(number + 1) ** 2 * _WEIGHT_SUM))


def e_value_of(p_value: float) -> float:
    """Source: the calibrator of Vovk, "A logic of probability" (1993): its mean over uniform p-values is 1."""
    return float(min(_POWER * p_value ** (_POWER - 1), _E_MAX))


def p_value_needed(*, num_columns: int, number: int, alpha: float) -> float:
    """The p-value that is enough for one column alone at this look, without earlier evidence."""
    needed = num_columns / (alpha * look_weight(number))
    return float((needed / _POWER) ** (1 / (_POWER - 1)))


def rejected_by_e_values(e_values: Mapping[str, float], *, alpha: float) -> frozenset[str]:
    """The columns that drift: of those named a share of alpha at most has not, on average."""
    ranked = sorted(e_values, key=lambda name: -e_values[name])
    num = max(
        (rank for rank, name in enumerate(ranked, 1) if e_values[name] >= len(ranked) / (rank * alpha)), default=0
    )
    return frozenset(ranked[:num])

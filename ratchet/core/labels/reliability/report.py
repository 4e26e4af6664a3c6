"""How far labelers agree: coefficients over all, class by class, labeler by labeler and pair by pair. Pure."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from ratchet.core.labels.label_values import codes_of
from ratchet.core.labels.reliability.coefficients import (
    Estimate,
    Estimates,
    cohen_kappa,
    fleiss_kappa,
    interval_alpha,
    krippendorff_alpha,
)
from ratchet.core.labels.reliability.voices import Voices, consensus_of_others, median_of_others, members_of
from ratchet.core.labels.reliability.wilson import wilson_bounds
from ratchet.core.labels.schema import NumberOutput, OutputSpec

PAIRS_MAX = 50
CLASSES_MAX = 50
LABELERS_MAX = 100
"""What a report shows: those with the most shared examples, and of classes those with the most voices."""
_BUSY_MAX = 50
"""Labelers of whom every pair is looked at: 1,225 pairs."""
_FEW_RESAMPLES = 200
"""Of one labeler or pair; there may be hundreds of them."""


class Agreement(BaseModel):
    """One labeler beside what the others say together: their majority, or of numbers their median."""

    model_config = ConfigDict(frozen=True)

    labeler: str
    num_shared: int = 0
    """Examples on which the others say one thing."""
    agreement_ratio: float | None = None
    """Share (0..1) of them with the same label; of numbers within the tolerance. None: too few, or no tolerance."""
    agreement_low: float | None = None
    agreement_high: float | None = None
    """Wilson's interval of 95 %."""
    coefficient: Estimate | None = None
    """Cohen's kappa with the others, or of numbers Krippendorff's alpha (interval); None: too few, or undefined."""
    by_class: Mapping[str, Estimate] = {}
    """Class or tag against all others; empty in a report of all labelers."""


class PairAgreement(BaseModel):
    """Two labelers. "" is the accepted label."""

    model_config = ConfigDict(frozen=True)

    labelers: tuple[str, str]
    num_shared: int
    coefficient: Estimate


class ClassAgreement(BaseModel):
    """One class against all others, or one tag."""

    model_config = ConfigDict(frozen=True)

    name: str
    num_votes: int
    fleiss_kappa: Estimate | None
    krippendorff_alpha: Estimate | None


class Reliability(BaseModel):
    """The agreement of all labelers of some opinions."""

    model_config = ConfigDict(frozen=True)

    scale: str
    """"nominal", or "interval" of numbers."""
    num_examples: int
    """That two voices or more share."""
    num_voices: int
    num_labelers: int
    num_shared_min: int
    """With fewer shared examples there is no coefficient."""
    num_left_out: int = 0
    """Opinions beyond what is looked at."""
    krippendorff_alpha: Estimate | None = None
    fleiss_kappa: Estimate | None = None
    """None of numbers."""
    by_class: tuple[ClassAgreement, ...] = ()
    by_labeler: tuple[Agreement, ...] = ()
    pairs: tuple[PairAgreement, ...] = ()

    @property
    def is_enough(self) -> bool:
        return self.num_examples >= self.num_shared_min


def measure_reliability(voices: Voices, output: OutputSpec, *, num_shared_min: int) -> Reliability:
    """Every coefficient for which enough examples are shared. At 100,000 opinions it takes a few seconds."""
    found = Reliability(
        scale="interval" if voices.has_numbers else "nominal",
        num_examples=len(voices.ids),
        num_voices=len(voices.labels),
        num_labelers=sum(name != "" for name in voices.names),
        num_shared_min=num_shared_min,
        num_left_out=voices.num_left_out,
    )
    if not found.is_enough:
        return found
    changes = {
        **_overall(voices),
        "by_labeler": _without_classes(
            agreements_of(voices, output, num_shared_min=num_shared_min, only=_busiest(voices, LABELERS_MAX))
        ),
        "pairs": _pairs(voices, num_shared_min=num_shared_min),
    }
    return found.model_copy(update=changes)


def agreements_of(
    voices: Voices, output: OutputSpec, *, num_shared_min: int, only: Sequence[str] | None = None
) -> tuple[Agreement, ...]:
    """Each labeler with the consensus of the others, in the order of names; `only` these."""
    others = Others.of(voices, output)
    wanted = range(len(voices.names)) if only is None else [voices.names.index(name) for name in only]
    return tuple(
        _agreement(voices.names[number], others, np.flatnonzero(voices.labelers_N == number), num_shared_min)
        for number in wanted
        if voices.names[number]
    )


class Others:
    """What the others of each voice say together, and whether the voice agrees with it."""

    def __init__(self, labels: pa.Array, consensus: pa.Array, agrees_N: np.ndarray | None) -> None:
        self.labels = labels
        self.consensus = consensus
        """(N,) null where the others are tied."""
        self.agrees_N = agrees_N
        """None where nothing says when two numbers agree."""
        self.is_told_N = consensus.is_valid().to_numpy(zero_copy_only=False)

    @classmethod
    def of(cls, voices: Voices, output: OutputSpec) -> "Others":
        if voices.has_numbers:
            medians_N = median_of_others(voices)
            tolerance = output.tolerance if isinstance(output, NumberOutput) else None
            with np.errstate(over="ignore"):
                apart_N = np.abs(voices.numbers_N() - medians_N)
            return cls(voices.labels, pa.array(medians_N), None if tolerance is None else apart_N <= tolerance)
        places_N = consensus_of_others(voices)
        consensus = voices.labels.take(pa.array(places_N, mask=places_N < 0))
        codes_N = codes_of(voices.labels)
        agrees_N = (places_N >= 0) & (codes_N[np.maximum(places_N, 0)] == codes_N) if len(codes_N) else places_N >= 0
        return cls(voices.labels, consensus, agrees_N)


def _agreement(name: str, others: Others, own_n: np.ndarray, num_shared_min: int) -> Agreement:
    told_n = own_n[others.is_told_N[own_n]]
    if len(told_n) < num_shared_min:
        return Agreement(labeler=name, num_shared=len(told_n))
    names, estimates = _two(others.labels.take(pa.array(told_n)), others.consensus.take(pa.array(told_n)))
    by_class = {of: each for of, each in zip(names, estimates.by_class, strict=False) if each is not None}
    found = Agreement(labeler=name, num_shared=len(told_n), coefficient=estimates.whole, by_class=by_class)
    if others.agrees_N is None:
        return found
    num_agreed = int(others.agrees_N[told_n].sum())
    low, high = wilson_bounds(num_agreed, len(told_n))
    changes = {"agreement_ratio": num_agreed / len(told_n), "agreement_low": low, "agreement_high": high}
    return found.model_copy(update=changes)


def _two(first: pa.Array, second: pa.Array) -> tuple[tuple[str, ...], Estimates]:
    """The coefficient of two who label the same examples, in one order; its classes."""
    num = len(first)
    if pa.types.is_floating(first.type):
        values = np.concatenate([first.to_numpy(zero_copy_only=False), second.to_numpy(zero_copy_only=False)])
        whole = interval_alpha(values, np.tile(np.arange(num), 2), num, resamples=_FEW_RESAMPLES)
        return (), Estimates(whole, ())
    names, members = members_of(pa.concat_arrays([first, second]))
    return names, cohen_kappa(members[:num], members[num:], resamples=_FEW_RESAMPLES)


def _overall(voices: Voices) -> dict[str, object]:
    if voices.has_numbers:
        alpha = interval_alpha(voices.numbers_N(), voices.examples_N, len(voices.ids))
        return {"krippendorff_alpha": alpha}
    names, members = members_of(voices.labels)
    where = (np.ones(len(voices.labels)), (voices.examples_N, np.arange(len(voices.labels))))
    counts = (type(members)(where, shape=(len(voices.ids), len(voices.labels))) @ members).tocsr()
    fleiss, alpha_of = (each(counts, voices.num_voices_U) for each in (fleiss_kappa, krippendorff_alpha))
    num_votes = np.asarray(members.sum(axis=0)).reshape(-1).astype(int)
    shown = sorted(np.argsort(-num_votes, kind="stable")[:CLASSES_MAX].tolist())
    by_class = tuple(
        ClassAgreement(
            name=names[place],
            num_votes=int(num_votes[place]),
            fleiss_kappa=fleiss.by_class[place],
            krippendorff_alpha=alpha_of.by_class[place],
        )
        for place in shown
    )
    return {"krippendorff_alpha": alpha_of.whole, "fleiss_kappa": fleiss.whole, "by_class": by_class}


def _pairs(voices: Voices, *, num_shared_min: int) -> tuple[PairAgreement, ...]:
    """Those that share the most examples, of the labelers who have the most voices."""
    own = {}
    for number in map(voices.names.index, _busiest(voices, _BUSY_MAX)):
        rows = np.flatnonzero(voices.labelers_N == number)
        own[number] = rows[np.argsort(voices.examples_N[rows])]
    shared = []
    for first, second in combinations(own, 2):
        both = np.intersect1d(
            voices.examples_N[own[first]], voices.examples_N[own[second]], assume_unique=True, return_indices=True
        )
        if len(both[0]) >= num_shared_min:
            shared.append((len(both[0]), first, second, both[1:]))
    found = []
    for num, first, second, (in_first, in_second) in sorted(shared, key=lambda each: (-each[0], *each[1:3]))[
        :PAIRS_MAX
    ]:
        sides = (own[first][in_first], own[second][in_second])
        _, estimates = _two(*(voices.labels.take(pa.array(rows)) for rows in sides))
        if estimates.whole is not None:
            names = (voices.names[first], voices.names[second])
            found.append(PairAgreement(labelers=names, num_shared=num, coefficient=estimates.whole))
    return tuple(found)


def _busiest(voices: Voices, num: int) -> list[str]:
    """So many labelers with the most voices, by name; the accepted label is one."""
    num_voices = np.bincount(voices.labelers_N, minlength=len(voices.names))
    chosen = np.sort(np.argsort(-num_voices, kind="stable")[:num])
    return [voices.names[number] for number in chosen.tolist()]


def _without_classes(found: Sequence[Agreement]) -> tuple[Agreement, ...]:
    return tuple(each.model_copy(update={"by_class": {}}) for each in found)

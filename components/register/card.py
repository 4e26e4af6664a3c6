"""The model for people: its answers, data, quality with bounds, known failures, how to reproduce it. Pure.

All numbers are those of the gate's verdict and of the dataset version; nothing is measured here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.reliability.wilson import wilson_bounds
from ratchet.core.labels.shards import SPLITS
from ratchet.core.models.forgetting import FORGETTING
from ratchet.core.models.slices.check import FOUND
from ratchet.core.verdict import Reason, Verdict
from ratchet.tasks.spec import TaskSpec

_NAMES_MAX = 50
_UNSEEN = "test_unseen_"
_ACCURACY = "test_accuracy"
"""The share of right rows that the gate judged: with the number of rows it has bounds."""


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of."""

    verdict: Verdict
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    manifest: Manifest | None = None
    """Of the dataset version; None where it is not at hand."""
    is_signed: bool = False


def render_model_card(spec: TaskSpec, facts: CardFacts) -> str:
    """Markdown, the same for the same facts."""
    sections = {
        "Data": _data_lines(facts),
        "How good": _metric_lines(facts),
        f"Why it may serve: {facts.verdict.verdict}": _check_lines(facts.verdict.reasons),
        "Parts of the data": _part_lines(facts.verdict.reasons),
        "Known failures": _failure_lines(facts),
        "How to reproduce it": _reproduce_lines(spec, facts),
        "Where it came from": (f"- {name}: {value}" for name, value in sorted(facts.tags.items()) if value),
    }
    lines = [f"# {spec.name}", "", f"Answers {_output_text(spec)} from {_inputs_text(spec)}.", ""]
    lines += [f"Model: {_kind_text(spec)}.", ""]
    for title, body in sections.items():
        lines += [f"## {title}", *(list(body) or ["- none known"]), ""]
    return "\n".join(lines)


def _data_lines(facts: CardFacts) -> Iterator[str]:
    manifest = facts.manifest
    if manifest is None:
        yield f"- dataset version {facts.tags.get('dataset_version', 'unknown')}"
        return
    yield f"- dataset version {manifest.version}: {manifest.num_labels:,} labels"
    for split, num_rows in _rows_by_split(manifest).items():
        yield f"- {split}: {num_rows:,} rows"
    by_class = sorted(manifest.num_labels_by_class.items(), key=lambda item: (-item[1], item[0]))
    if by_class:
        yield f"- by label: {_listed([f'{name} {num:,}' for name, num in by_class])}"
    if manifest.erased:
        yield f"- {manifest.erased:,} rows had been erased before the training"
    if "training_rows" in facts.tags:
        yield f"- trained on {facts.tags['training_rows']}"


def _metric_lines(facts: CardFacts) -> Iterator[str]:
    """With Wilson's bounds of 95 % for the share of right test rows."""
    rows = next((reason.value for reason in facts.verdict.reasons if reason.check == "test_rows"), None)
    num_rows = int(rows) if isinstance(rows, int | float) else 0
    for name, value in sorted(facts.metrics.items()):
        if name.startswith(_UNSEEN):
            continue
        bounds = ""
        if name == _ACCURACY and num_rows and 0 <= value <= 1:
            low, high = wilson_bounds(round(value * num_rows), num_rows)
            bounds = f" (95 %: {low:.4f} to {high:.4f}, {num_rows:,} test rows)"
        yield f"- {name}: {value:.4f}{bounds}"


def _check_lines(reasons: Sequence[Reason]) -> Iterator[str]:
    return (_line_of(reason) for reason in reasons if not _is_part(reason))


def _part_lines(reasons: Sequence[Reason]) -> Iterator[str]:
    """Classes and found parts, the worst beside its limit first."""
    parts = [reason for reason in reasons if _is_part(reason)]
    return (_line_of(reason) for reason in sorted(parts, key=lambda reason: (reason.passed, reason.check)))


def _failure_lines(facts: CardFacts) -> Iterator[str]:
    """What did not hold, the parts where it is worse than the champion, and inputs that it has never seen."""
    for reason in facts.verdict.reasons:
        if not reason.passed or reason.check.startswith(f"{FOUND.removesuffix('s')}:"):
            yield f"- {reason.text}"
    for name, num in sorted(facts.metrics.items()):
        if name.startswith(_UNSEEN) and num:
            yield f"- {num:,.0f} test rows have a category of `{name.removeprefix(_UNSEEN)}` that no training row has"


def _reproduce_lines(spec: TaskSpec, facts: CardFacts) -> Iterator[str]:
    name = f"{spec.name}/{facts.tags.get('digest', '')[:12]}"
    yield f"- `ratchet models reproduce {name}` trains it again and compares the bits"
    if facts.is_signed:
        yield f"- `ratchet models verify {name}` checks its signatures from the labels to its promotion"
    if commit := facts.tags.get("git_commit"):
        yield f"- code: commit {commit}"
    if seed := facts.tags.get("seed"):
        workers, threads = facts.tags.get("world_size", "1"), facts.tags.get("num_threads", "1")
        yield f"- seed {seed}, workers {workers}, threads {threads}"


def _is_part(reason: Reason) -> bool:
    return reason.check in (FOUND, FORGETTING) or reason.check.startswith(("slice:", "found_slice:", "new_class:"))


def _line_of(reason: Reason) -> str:
    return f"- {'held' if reason.passed else 'failed'}: {reason.text}"


def _rows_by_split(manifest: Manifest) -> dict[str, int]:
    rows = dict.fromkeys(SPLITS, 0)
    for shard in manifest.shards:
        rows[shard.split] += shard.num_rows
    return {split: num for split, num in rows.items() if num}


def _output_text(spec: TaskSpec) -> str:
    classes = f"{len(spec.classes)} classes ({_listed(spec.classes)})"
    of_type = {"category": f"one of {classes}", "tags": f"any number of {classes}", "number": "a number"}
    return of_type[spec.output.type] + ("" if spec.output.name == "label" else f", {spec.output.name},")


def _inputs_text(spec: TaskSpec) -> str:
    vector = spec.examples.short_input
    if vector is not None:
        return f"{vector.size} numbers between {vector.range[0]:g} and {vector.range[1]:g}"
    named = [f"{each.name} ({each.type}{', may be missing' if each.optional else ''})" for each in spec.inputs]
    return f"{len(named)} inputs: {_listed(named)}"


def _kind_text(spec: TaskSpec) -> str:
    options = [f"{name} {value}" for name, value in sorted(spec.model.options.items())]
    return ", ".join([spec.model.kind, *options])


def _listed(names: Sequence[str]) -> str:
    """Cut where a card would become a list."""
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return ", ".join(names[:_NAMES_MAX]) + more

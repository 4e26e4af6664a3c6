"""From candidates to a queue of what to label next: what is labelled goes, the champion is asked, and a pure function
ranks."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ratchet.actions.labels.asking import ChampionAnswer, ask_champion
from ratchet.actions.labels.labelled import LabelledExamples
from ratchet.adapters.http import HttpClient
from ratchet.core.errors import DataRejected, NotFound, NothingNew
from ratchet.core.labels.answers import label_text
from ratchet.core.labels.formats.fields import EXAMPLE_ID
from ratchet.core.labels.formats.queue_files import QueueItem
from ratchet.core.labels.points import points_of
from ratchet.core.labels.queueing import Pool, Strategy, draw, pick_next
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from ratchet.core.lines import read_objects, split_lines
from ratchet.core.ports import PayloadLog
from ratchet.core.rollout.payloads import TEXT_CHARS_LOGGED, Prediction, logged_id_of
from wire.validation_text import found_text

PAYLOADS = "payloads"
"""In the place of a file: what users asked the models lately."""
ASKED_MAX = 20_000
"""Candidates that the champion is asked about, drawn by hash."""
CANDIDATES_MAX = 1_000_000
_NEXT_STEP = 'Write one JSON object per line, as in {"id": "a", "inputs": {"text": "…"}}.'


class Candidate(NamedTuple):
    id: str
    inputs: Mapping[str, Any]
    answer: ChampionAnswer | None = None
    """Of a logged request; None: the champion has to be asked."""


class Queue(NamedTuple):
    items: tuple[QueueItem, ...]
    num_candidates: int
    num_labelled: int
    """Candidates that have a label already: left out."""
    num_asked: int
    num_refused: int
    """Candidates of those asked about that the model server did not take: left out."""


def read_candidates(path: Path, schema: ExampleSchema) -> list[Candidate]:
    """Each line of a file, an id once; DataRejected names the first that is no candidate."""
    try:
        if path.stat().st_size > SHARD_BYTES_MAX:
            raise DataRejected(f"{path}: over the limit of {SHARD_BYTES_MAX:,} bytes. Split it (`split -l`).")
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist. Name a file of JSON lines, or `payloads`.") from None
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable file of JSON lines.") from None
    found: dict[str, Candidate] = {}
    for place, value in read_objects(split_lines(data), where=str(path), next_step=_NEXT_STEP):
        example_id = value.get("id", value.get(EXAMPLE_ID))
        if not isinstance(example_id, str) or not 1 <= len(example_id) <= 256:
            shown = found_text(example_id)
            raise DataRejected(f"{place}: `id` must be a text of 1 to 256 characters, found {shown}. {_NEXT_STEP}")
        found.setdefault(example_id, Candidate(example_id, _inputs_in(value, schema, place)))
        if len(found) > CANDIDATES_MAX:
            raise DataRejected(f"{path}: more than {CANDIDATES_MAX:,} candidates. Split the file (`split -l`).")
    return list(found.values())


def read_payloads(log: PayloadLog, schema: ExampleSchema, *, task: str, since: datetime) -> list[Candidate]:
    """What users asked, with the answers they got: an instance of a request is a candidate. Pictures are not in the
    log, and neither are the ends of long texts: requests with these are left out."""
    found: dict[str, Candidate] = {}
    for request in log.list_predictions(task, since=since):
        for row, inputs in enumerate(_logged_inputs(request, schema)):
            if inputs is None or len(found) >= CANDIDATES_MAX:
                continue
            probability = request.probabilities[row] if row < len(request.probabilities) else None
            uncertainty = float("nan") if probability is None else 1.0 - probability
            label: Any = request.labels[row]
            label = list(label) if isinstance(label, tuple) else label
            answer = ChampionAnswer(label, uncertainty, probability, request.model_digest)
            example_id = logged_id_of(request.request_id, request.numbers[row])
            found[example_id] = Candidate(example_id, inputs, answer)
    return list(found.values())


def make_queue(
    candidates: Sequence[Candidate],
    labelled: LabelledExamples,
    schema: ExampleSchema,
    *,
    size: int,
    strategy: Strategy,
    seed: int,
    http: HttpClient | None,
    task: str,
) -> Queue:
    """http: the gateway, None: no champion is asked, and no answer is shown. NothingNew when every candidate has a
    label; NotFound when the strategy goes by the answers of a champion, and there is none."""
    has_label_B = labelled.has([each.id for each in candidates]) if candidates else np.zeros(0, dtype=bool)
    new = [each for each, has_label in zip(candidates, has_label_B, strict=True) if not has_label]
    asked = _Asked(http, schema, task)
    if strategy in {"auto", "margin"} or (strategy == "coverage" and _is_of_pictures(schema)):
        asked.ask(_at_most(ASKED_MAX, new, seed=seed), is_needed=strategy != "auto")  # auto: before the first champion
    answers = {**{each.id: each.answer for each in new if each.answer is not None}, **asked.answers}
    fine = [each for each in new if each.id not in asked.refused]
    tied = [Candidate(each.id, each.inputs) for each in labelled.tied] if strategy in {"auto", "disagreement"} else []
    pool = _pool([*fine, *tied], len(tied), answers, schema, strategy)
    picks = pick_next(pool, size=size, strategy=strategy, seed=seed) if pool.ids else ()
    if not picks:
        why = "no example has tied opinions" if strategy == "disagreement" else "every candidate has a label already"
        raise NothingNew(f"There is nothing to queue: {why} ({len(candidates):,} candidates).")
    picked = [([*fine, *tied][pick.row], pick) for pick in picks]
    asked.ask([each for each, _ in picked if each.id not in answers], is_needed=False)
    answers.update(asked.answers)
    items = tuple(
        _item(each, answers.get(each.id), pick.reason, is_blind=pick.is_blind)
        for each, pick in picked
        if each.id not in asked.refused
    )
    return Queue(items, len(candidates), len(candidates) - len(new), asked.num_asked, len(asked.refused))


class _Asked:
    """What the champion has said so far."""

    def __init__(self, http: HttpClient | None, schema: ExampleSchema, task: str) -> None:
        self._http, self._schema, self._task = http, schema, task
        self.answers: dict[str, ChampionAnswer] = {}
        self.refused: set[str] = set()
        """Ids of what the model server did not take."""
        self.num_asked = 0

    def ask(self, candidates: Sequence[Candidate], *, is_needed: bool) -> None:
        """is_needed: NotFound is raised when no model serves; else nobody is asked from then on."""
        if self._http is None or not candidates:
            return
        try:
            said = list(ask_champion(self._http, (each.inputs for each in candidates), self._schema, task=self._task))
        except NotFound:
            if is_needed:
                raise
            self._http = None
            return
        self.num_asked += len(candidates)
        for each, answer in zip(candidates, said, strict=True):
            if answer is None:
                self.refused.add(each.id)
            else:
                self.answers[each.id] = answer


def _is_of_pictures(schema: ExampleSchema) -> bool:
    return all(each.type == "image" for each in schema.inputs)


def _at_most(num_max: int, candidates: Sequence[Candidate], *, seed: int) -> list[Candidate]:
    """Those without an answer, drawn by hash where there are more."""
    unknown = [each for each in candidates if each.answer is None]
    order = np.argsort(draw([each.id for each in unknown], f"audit:{seed}"), kind="stable")[:num_max]
    return [unknown[place] for place in order]


def _pool(
    candidates: Sequence[Candidate],
    num_tied: int,
    answers: Mapping[str, ChampionAnswer],
    schema: ExampleSchema,
    strategy: Strategy,
) -> Pool:
    said = [answers.get(each.id) for each in candidates]
    uncertainty_B = np.array([float("nan") if each is None else each.uncertainty for each in said])
    is_tied_B = np.arange(len(candidates)) >= len(candidates) - num_tied
    points_BD = points_of([each.inputs for each in candidates], schema) if strategy in {"auto", "coverage"} else None
    return Pool(
        [each.id for each in candidates],
        uncertainty_B,
        points_BD,
        ["" if each is None else label_text(each.label) for each in said] if any(said) else None,
        is_tied_B,
    )


def _item(candidate: Candidate, answer: ChampionAnswer | None, reason: str, *, is_blind: bool) -> QueueItem:
    if answer is None:
        return QueueItem(candidate.id, candidate.inputs, reason, is_blind)
    return QueueItem(candidate.id, candidate.inputs, reason, is_blind, answer.label, answer.probability, answer.model)


def _inputs_in(value: Mapping[str, Any], schema: ExampleSchema, place: str) -> Mapping[str, Any]:
    short = schema.short_input
    if short is not None and "features" in value:
        return {short.name: value["features"]}
    inputs = value.get("inputs")
    if not isinstance(inputs, Mapping):
        field = "`features` or `inputs`" if short is not None else "`inputs`"
        raise DataRejected(f"{place}: {field} must be there, found {found_text(inputs)}. {_NEXT_STEP}")
    names = {each.name for each in schema.inputs}
    unknown = next((name for name in inputs if name not in names), None)
    if unknown is not None:
        known = ", ".join(sorted(names)[:20])
        raise DataRejected(f"{place}: {found_text(unknown)} is no input of the task; its inputs are {known}.")
    return inputs


def _logged_inputs(request: Prediction, schema: ExampleSchema) -> Iterator[Mapping[str, Any] | None]:
    short = schema.short_input
    if short is not None and request.features:
        yield from ({short.name: list(row)} for row in request.features)
        return
    for inputs in request.inputs:
        yield inputs if _is_whole(inputs, schema) else None


def _is_whole(inputs: Mapping[str, Any], schema: ExampleSchema) -> bool:
    for each in schema.inputs:
        value = inputs.get(each.name)
        is_cut = each.type == "text" and isinstance(value, str) and len(value) >= TEXT_CHARS_LOGGED
        if is_cut or (each.type == "image" and value is not None):
            return False
    return True

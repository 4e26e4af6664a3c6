"""Answers of one model to any number of rows: the model is loaded once, and no server is asked.

A part of the input becomes one file of answers, put whole. A batch that was killed finds which parts are there, and
goes on with the model of its plan; a part that is made twice has the same bytes. So each row of the input is in the
output exactly once, as an answer or as an error.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.actions.models.batch_inputs import BatchRows, BatchSources, as_json
from ratchet.actions.models.batch_places import BatchPlace
from ratchet.adapters.scratch import ScratchFolder
from ratchet.core.errors import Conflict, DataRejected, NotFound, NothingNew, Unavailable
from ratchet.core.labels.answers import Answers
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.opinions import checked_input
from ratchet.core.labels.schema import ExampleSchema, ImageInput
from ratchet.core.models.batch import (
    PLAN,
    SUMMARY,
    BatchPlan,
    BatchSummary,
    InputFile,
    OutputFormat,
    difference,
    part_rows_of,
)
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.ports import Ledger, ObjectStore, TrustedKeys
from ratchet.serving.batch_rows import BatchAnswers, render_answers, render_errors
from ratchet.serving.inputs import NUM_INSTANCES_MAX, parse_instances
from ratchet.serving.request_images import PIXEL_BYTES_MAX, RequestImages
from ratchet.tasks.model_files import ServableModel, load_model
from ratchet.tasks.signature import check_folder
from ratchet.tasks.spec import TaskSpec

_REASON_CHARS_MAX = 500


class BatchPorts(NamedTuple):
    sources: BatchSources
    objects: ObjectStore
    ledger: Ledger
    keys: TrustedKeys | None
    """None: no signature is asked for."""
    is_signature_required: bool
    images: RequestImages


class Ask(NamedTuple):
    source: str
    """`digits/v3`, `s3://bucket/prefix`, or a path."""
    output_format: OutputFormat


Tell = Callable[[int, int], None]
"""Told after each part: rows so far, errors among them."""


def predict_batch(
    spec: TaskSpec, ask: Ask, place: BatchPlace, ports: BatchPorts, *, tell: Tell = lambda *_: None
) -> BatchSummary:
    """NothingNew when all answers are there already; Conflict when the place holds those of another batch."""
    names = place.list_names()
    plan = _fetch_or_make_plan(spec, ask, place, ports)
    if SUMMARY in names:
        raise NothingNew(
            f"{place.name} holds all answers of model {plan.model.digest[:12]} already. "
            "Name an empty folder to ask the model that serves now."
        )
    with ScratchFolder("ratchet-batch-") as scratch:
        path = scratch / "model"
        ports.objects.fetch_directory(plan.model.uri, path)
        check_folder(path, ports.keys, is_required=ports.is_signature_required)
        batch = _Batch(plan, load_model(path, expected_digest=plan.model.digest), place, ports, names, tell)
        for number, file in enumerate(plan.files):
            batch.answer_file(number, file)
    summary = batch.summary()
    place.put(SUMMARY, summary.model_dump_json(indent=2).encode())
    return summary


def _fetch_or_make_plan(spec: TaskSpec, ask: Ask, place: BatchPlace, ports: BatchPorts) -> BatchPlan:
    """The plan that is there, when it is for the same input; else a new one, with the champion of now."""
    stored = place.fetch(PLAN)
    found = None
    if stored is not None:
        try:
            found = BatchPlan.model_validate_json(stored)
        except ValueError:
            raise Conflict(f"{place.name}/{PLAN} is not that of a batch prediction. Name an empty folder.") from None
    model = found.model if found else _champion(spec.name, ports.ledger)
    wanted = BatchPlan(
        task=spec.name,
        source=ask.source,
        model=model,
        files=ports.sources.list_files(ask.source, spec.examples),
        output_format=ask.output_format,
        part_rows=part_rows_of(len(getattr(spec.output, "classes", ()))),
    )
    if found is None:
        if place.list_names() & {SUMMARY, wanted.part_name(0, 0)}:
            raise Conflict(f"{place.name} holds answers without a {PLAN}. Name an empty folder.")
        place.put_if_absent(PLAN, wanted.model_dump_json(indent=2).encode())
        return wanted
    if told := difference(found, wanted):
        raise Conflict(f"{place.name} holds answers of another batch: {told}. Name an empty folder.")
    return found


def _champion(task: str, ledger: Ledger) -> ModelRef:
    champion = champion_of(ledger.list_entries(task))
    if champion is None:
        raise NotFound(f"No model of {task} is champion yet. `ratchet run retrain --task {task}` trains one.")
    return champion


class _Batch:
    """What is counted while the parts are made."""

    def __init__(
        self,
        plan: BatchPlan,
        model: ServableModel,
        place: BatchPlace,
        ports: BatchPorts,
        names: frozenset[str],
        tell: Tell,
    ) -> None:
        self._plan, self._model, self._place, self._ports = plan, model, place, ports
        self._names, self._tell = names, tell
        self._num_rows = self._num_errors = 0

    def answer_file(self, number: int, file: InputFile) -> None:
        plan = self._plan
        parts = self._ports.sources.read_parts(
            file,
            source=plan.source,
            schema=self._model.spec.examples,
            size=plan.part_rows,
            skip=lambda part: plan.part_name(number, part) in self._names,
        )
        for part, num_rows, rows in parts:
            errors_name = plan.errors_name(number, part)
            if rows is None:
                num_errors = self._count_errors(errors_name)
            else:
                num_errors = self._answer_part(number, part, file, rows)
            self._num_rows += num_rows
            self._num_errors += num_errors
            self._tell(self._num_rows, self._num_errors)

    def _answer_part(self, number: int, part: int, file: InputFile, rows: BatchRows) -> int:
        answered = answer_rows(self._model, rows, self._ports.images)
        if number == part == 0 and not answered.rows:
            row, _, why = answered.errors[0]
            raise DataRejected(
                f"{file.uri}: none of the first {len(rows):,} rows can be answered. Row {row}: {why}. "
                "Check that the file is for this task."
            )
        output, plan = self._model.spec.output, self._plan
        if answered.errors:
            self._place.put(plan.errors_name(number, part), render_errors(answered, file=file.uri))
        content = render_answers(answered, output, file=file.uri, digest=self._model.digest, form=plan.output_format)
        self._place.put(plan.part_name(number, part), content)
        return len(answered.errors)

    def _count_errors(self, name: str) -> int:
        """Of a part that is there already."""
        return (self._place.fetch(name) or b"").count(b"\n") if name in self._names else 0

    def summary(self) -> BatchSummary:
        return BatchSummary(
            task=self._plan.task,
            model_digest=self._model.digest,
            source=self._plan.source,
            classes=tuple(getattr(self._model.spec.output, "classes", ())),
            num_rows=self._num_rows,
            num_answers=self._num_rows - self._num_errors,
            num_errors=self._num_errors,
        )


def answer_rows(model: ServableModel, rows: BatchRows, images: RequestImages) -> BatchAnswers:
    """As the model server answers the same inputs, row by row; a row that it would refuse is an error."""
    schema = model.spec.examples
    size = _rows_at_once(schema)
    found = _Found(model, images)
    for start in range(0, len(rows), size):
        some = rows.part(start, start + size)
        table = None if some.table is None else _checked_table(some.table, schema)
        if table is None or not found.answer_table(start, table):
            found.answer_inputs(start, _inputs_of(some))
    return found.as_answered(rows)


class _Found:
    """Answers and errors by the place of their rows."""

    def __init__(self, model: ServableModel, images: RequestImages) -> None:
        self._model, self._images = model, images
        self._places: list[int] = []
        self._answers: list[Answers] = []
        self._errors: dict[int, str] = {}

    def answer_table(self, start: int, table: pa.Table) -> bool:
        """False when the model fails on one of these rows, whichever."""
        try:
            self._keep(range(start, start + table.num_rows), self._model.answer(table))
        except Exception:  # the model is a user's code
            return False
        return True

    def answer_inputs(self, start: int, inputs: Sequence[Any]) -> None:
        """inputs: by name, or why a row has none."""
        self._errors.update({start + place: each for place, each in enumerate(inputs) if isinstance(each, str)})
        self._halve([(start + place, each) for place, each in enumerate(inputs) if not isinstance(each, str)])

    def _halve(self, some: Sequence[tuple[int, Any]]) -> None:
        """Half by half, until each row that has no answer is alone."""
        if not some:
            return
        try:
            table = parse_instances(
                {"instances": [each for _, each in some]}, schema=self._model.spec.examples, images=self._images
            )
            self._keep([place for place, _ in some], self._model.answer(table))
        except Unavailable:  # of a picture's store: no fault of the row
            raise
        except Exception as error:  # what is wrong with a row, or whatever a user's model raises
            if len(some) == 1:
                self._errors[some[0][0]] = _reason_of(error)
                return
            middle = len(some) // 2
            self._halve(some[:middle])
            self._halve(some[middle:])

    def _keep(self, places: Sequence[int], answers: Answers) -> None:
        if len(answers) != len(places):
            raise ValueError(f"the model has {len(answers)} answers to {len(places)} rows")
        self._places.extend(places)
        self._answers.append(answers)

    def as_answered(self, rows: BatchRows) -> BatchAnswers:
        labels = [each.labels for each in self._answers]
        scores = [each.scores_BK for each in self._answers if each.scores_BK is not None]
        answers = Answers(
            pa.concat_arrays(labels) if labels else pa.array([], self._model.spec.examples.label_type),
            np.concatenate(scores) if scores else None,
        )
        errors = [(rows.numbers[place], rows.ids[place], text) for place, text in sorted(self._errors.items())]
        return BatchAnswers(
            [rows.numbers[place] for place in self._places],
            [rows.ids[place] for place in self._places],
            answers,
            errors,
        )


def _rows_at_once(schema: ExampleSchema) -> int:
    """No more than a request may have: then the same checks hold."""
    num_bytes = [each.num_bytes for each in schema.inputs if isinstance(each, ImageInput)]
    return max(1, min([NUM_INSTANCES_MAX, *(PIXEL_BYTES_MAX // each for each in num_bytes)]))


def _checked_table(table: pa.Table, schema: ExampleSchema) -> pa.Table | None:
    """The inputs as they are, where every value of every column is as declared. None: they are looked at one by one,
    as in a request, where a value outside the task's range is let through."""
    columns = {}
    for each in schema.inputs:
        if each.name in table.column_names:
            given = whole_column(table[each.name])
        elif each.optional:
            given = pa.nulls(table.num_rows, schema.inputs_type.field(each.name).type)
        else:
            return None
        checked = checked_input(given, each)
        if checked is None:
            return None
        columns[each.name] = checked
    return pa.table(columns)


def _inputs_of(rows: BatchRows) -> Sequence[Any]:
    if rows.table is None:
        return rows.inputs or ()
    return [{name: as_json(value) for name, value in row.items()} for row in rows.table.to_pylist()]


def _reason_of(error: Exception) -> str:
    text = str(error) if isinstance(error, DataRejected) else f"the model failed: {type(error).__name__}: {error}"
    return text.replace("instances[0].", "").replace("instances[0]", "the input")[:_REASON_CHARS_MAX].rstrip(".")

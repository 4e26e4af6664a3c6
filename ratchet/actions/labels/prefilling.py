"""What labelers see before they label: the champion is asked about the tasks of a labelling tool, a tenth is left
blind, and what was shown is recorded before it is shown."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from ratchet.actions.labels.asking import BATCH_ROWS, ChampionAnswer, ask_champion
from ratchet.adapters.http import HttpClient
from ratchet.core.errors import DataRejected, NotFound, RatchetError
from ratchet.core.labels.formats.fields import EXAMPLE_ID
from ratchet.core.labels.formats.items import ImportOptions, UnreadableFile, WrongItem
from ratchet.core.labels.formats.label_studio import ShownTask, task_of
from ratchet.core.labels.formats.prefill import Control, control_in, is_left_blind, result_of
from ratchet.core.labels.formats.queue_files import marks_in
from ratchet.core.labels.queue_marks import MODEL_CHARS, QUEUE_MARK, QueueMark, parse_mark, render_mark
from wire.printable import printable

BUDGET_S = 30.0
"""Of all questions of one request: Label Studio gives up after 100 s, and the last batch may take its own limit too."""


class Prefill(NamedTuple):
    results: list[dict[str, Any]]
    """A prediction a task, in their order; one without a result where labelers are to see no answer."""
    num_blind: int
    problem: str
    """Why answers are missing; "" when none is."""


class MarkFile:
    """JSON lines of example id and mark, of what was shown; `ratchet labels import --queue` reads them.

    A kill leaves at most one broken line, which readers leave out.
    """

    def __init__(self, path: Path) -> None:
        """DataRejected: the file cannot be read or written, or is of another kind."""
        self._path, self._lock = path, Lock()
        try:
            data = path.read_bytes() if path.exists() else b""
            self._marks = dict(marks_in(data)) if data.strip() else {}
            self._is_torn = bool(data) and not data.endswith(b"\n")
            self._append(b"")
        except UnreadableFile as error:
            raise DataRejected(f"{path}: {error}. Name a new file, or one that this command wrote.") from None
        except OSError as error:
            raise DataRejected(f"{path}: {error.strerror}. Name a file that can be written.") from None

    def record(self, marks: Mapping[str, str]) -> None:
        """On disk when it returns; marks that stand there already are not written again. Raises OSError."""
        with self._lock:
            new = {example_id: mark for example_id, mark in marks.items() if self._marks.get(example_id) != mark}
            if new:
                lines = ({EXAMPLE_ID: example_id, QUEUE_MARK: mark} for example_id, mark in new.items())
                self._append(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
                self._marks.update(new)

    def _append(self, data: bytes) -> None:
        lead, self._is_torn = b"\n" if self._is_torn else b"", True  # until all of it is there: a disk may be full
        with self._path.open("ab") as file:
            file.write(lead + data)
            file.flush()
            os.fsync(file.fileno())
        self._is_torn = False


class Prefiller:
    """Safe to share between threads."""

    def __init__(
        self, http: HttpClient, options: ImportOptions, marks: MarkFile, *, task: str, clock_s: Callable[[], float]
    ) -> None:
        """http: the gateway, with a deadline of a few seconds; clock_s: monotonic."""
        self._http, self._options, self._marks, self._task, self._clock_s = http, options, marks, task, clock_s
        self.model = ""
        """The first characters of the digest of the champion that answered last."""

    def check_interface(self, label_config: str) -> Control:
        """DataRejected: the answers cannot be shown in this labelling interface."""
        try:
            return control_in(label_config, self._options.schema)
        except (WrongItem, UnreadableFile) as error:
            raise DataRejected(
                f"{error}. `ratchet labels queue --format label-studio --json` prints one that fits."
            ) from None

    def prefill(self, tasks: Sequence[Mapping[str, Any]], label_config: str) -> Prefill:
        """Never an error: an answer that is missing, cannot be shown or cannot be recorded leaves its task empty."""
        problems: list[str] = []
        results: list[dict[str, Any]] = [{"result": []} for _ in tasks]
        try:
            control = self.check_interface(label_config)
        except DataRejected as error:
            return Prefill(results, 0, str(error))
        shown = list(self._read(tasks, problems))
        marks: dict[str, str] = {}
        num_blind = 0
        for (place, each), answer in zip(shown, self._answers([each for _, each in shown], problems), strict=True):
            if answer is None:
                continue
            prediction, is_blind = self._prediction(each, answer, control, marks, problems)
            results[place] = prediction
            num_blind += is_blind
        try:
            self._marks.record(marks)
        except OSError as error:
            lost = f"what is shown cannot be recorded ({error.strerror}), so no answer is shown"
            return Prefill([{"result": []} for _ in tasks], 0, lost)
        return Prefill(results, num_blind, problems[0] if problems else "")

    def _read(self, tasks: Sequence[Mapping[str, Any]], problems: list[str]) -> Iterator[tuple[int, ShownTask]]:
        for place, item in enumerate(tasks):
            try:
                yield place, task_of(item, self._options)
            except WrongItem as error:
                problems.append(f"task {printable(str(item.get('id')), chars_max=40)}: {error}")

    def _answers(self, shown: Sequence[ShownTask], problems: list[str]) -> list[ChampionAnswer | None]:
        """In their order. Batch by batch, so that what was answered counts when the gateway goes away, or time ends."""
        ends_at_s = self._clock_s() + BUDGET_S
        said: list[ChampionAnswer | None] = []
        try:
            for start in range(0, len(shown), BATCH_ROWS):
                if self._clock_s() >= ends_at_s:
                    problems.append(f"the champion took over {BUDGET_S:g} s; {len(shown) - start} tasks have no answer")
                    break
                batch = [each.inputs for each in shown[start : start + BATCH_ROWS]]
                said += ask_champion(self._http, batch, self._options.schema, task=self._task)
        except NotFound:
            problems.append(
                f"no model of {self._task} serves yet; `ratchet run retrain --task {self._task}` trains one"
            )
        except RatchetError as error:
            problems.append(str(error))
        else:
            if None in said:
                problems.append(f"the model server refused {said.count(None)} tasks; `ratchet predict` tells why")
        return [*said, *[None] * (len(shown) - len(said))]

    def _prediction(
        self,
        shown: ShownTask,
        answer: ChampionAnswer,
        control: Control,
        marks: dict[str, str],
        problems: list[str],
    ) -> tuple[dict[str, Any], bool]:
        """(prediction, whether it is left blind). The mark of a task that has none of its queue goes into `marks`."""
        own = parse_mark(shown.mark, shown.id) if shown.mark else None
        is_blind = own.is_blind if own is not None else is_left_blind(shown.id)
        self.model = answer.model[:MODEL_CHARS]
        try:
            result = result_of(answer.label, control)
        except WrongItem as error:
            problems.append(str(error))
            return {"result": []}, False
        if own is None:
            marks[shown.id] = render_mark(QueueMark("tool", is_blind, answer.label, answer.model), shown.id)
        if is_blind:  # no score either: Label Studio shows it, and sorts by it
            return {"result": []}, True
        score = {} if answer.probability is None else {"score": answer.probability}
        return {"model_version": self.model, **score, "result": result}, False

"""What the steps of a task's newest training have finished, kept for the run that repeats it.

`s3://ratchet/finished/<task>/<step>.json` holds the newest result of a step with the inputs that it came from,
`…/model/<digest>/` the trained model, and `…/checkpoint/<digest>/` the newest checkpoint of a training under way. Files
first, then the result that names them: a kill in between leaves files that the next result removes. A run takes a
result over when it came from the same inputs and from the run itself or from one that did not end well; whatever
differs is said, and the step does its work anew. All of it goes when a run of the task ends well.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from ratchet.core.digest import digest_of
from ratchet.core.errors import DataRejected, NotFound, RatchetError
from ratchet.core.layouts import Layout
from ratchet.core.runs.outcome import Origin
from ratchet.stores.layout import Store
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.stores.run_progress import RunProgress
from ratchet.tasks.identity import read_model
from wire.printable import printable

log = logging.getLogger(__name__)
Result = TypeVar("Result", bound=BaseModel)
CHECKPOINT = "checkpoint"
"""Step, as far as results go: how far a training came."""


class Finished(BaseModel):
    """`s3://ratchet/finished/<task>/<step>.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    inputs: Mapping[str, str]
    """Everything that decides the result, by its name for people."""
    result: Any
    digest: str
    """Of the result."""


class KeptFiles(BaseModel):
    """A folder whose files are kept under their digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256_by_name: Mapping[str, str]


class FinishedWork(Store):
    """What the newest trainings of all tasks have finished."""

    layout: ClassVar[Layout] = "finished"

    def of_run(self, task: str, run_id: str) -> "FinishedSteps":
        return FinishedSteps(self.objects, self.bucket, task, run_id)

    def folder_of(self, task: str) -> str:
        return self._uri(task, "")

    def forget(self, task: str) -> None:
        """Remove all that is kept of a task's steps: the next run does everything anew. Results go before models."""
        folder = self.folder_of(task)
        for uri in sorted(self.objects.list_uris(folder), key=lambda uri: "/" in uri.removeprefix(folder)):
            self.objects.delete(uri)


@dataclass(frozen=True)
class FinishedSteps(Store):
    """The finished steps of one task, as one run sees them."""

    layout: ClassVar[Layout] = "finished"
    task: str
    run_id: str

    @property
    def progress(self) -> RunProgress:
        """How far the training of this run is, for those who watch."""
        return RunProgress(self.objects, self.bucket, self.run_id)

    def find(self, step: str, inputs: Mapping[str, str], kind: type[Result]) -> tuple[str, Result] | None:
        """The result of the same inputs, and the run that it is of; None when the step has to do its work."""
        try:
            found = self._fetch(step)
            if found is None or not self._is_of_this_or_a_failed_run(found):
                return None
            if found.inputs != inputs:
                self._note(
                    step, "", f"done again, not taken from run {found.run_id}: {_difference(found.inputs, inputs)}"
                )
                return None
            return found.run_id, kind.model_validate(found.result)
        except (RatchetError, ValueError) as error:  # a number that is none has no digest
            self.note_anew(step, printable(str(error)))
            return None

    def put(self, step: str, inputs: Mapping[str, str], result: BaseModel) -> None:
        """Keep what a step has finished. When that fails the step goes on: a repetition then does its work anew."""
        try:
            content = result.model_dump(mode="json")
            finished = Finished(run_id=self.run_id, inputs=inputs, result=content, digest=digest_of(content))
            self.objects.put(self._uri_of(step), finished.model_dump_json(indent=1).encode())
        except (RatchetError, ValueError) as error:  # NaN has no digest
            log.warning("the result of %s is not kept for a repetition: %s", step, error)

    def put_model(self, step: str, inputs: Mapping[str, str], result: BaseModel, *, path: Path, digest: str) -> None:
        """Keep a trained model, then the result that names it; then other models of the task are removed.

        As for `put`, a failure costs a repetition only.
        """
        try:
            self._put_files("model", step, inputs, result, path=path, digest=digest)
            self.drop_checkpoint()
        except RatchetError as error:
            log.warning("the model %s is not kept for a repetition: %s", digest[:12], error)

    def put_checkpoint(self, inputs: Mapping[str, str], *, path: Path) -> None:
        """Keep a training's checkpoint, of which path is the folder, in the place of the one before. Raises."""
        digests = _digests_of(path)
        kept = KeptFiles(name=path.name, sha256_by_name=digests)
        self._put_files("checkpoint", CHECKPOINT, inputs, kept, path=path, digest=digest_of(digests))

    def fetch_checkpoint(self, inputs: Mapping[str, str], checkpoint_dir: Path) -> None:
        """Put the checkpoint of a training with these inputs among its checkpoints. Nothing when there is none, or when
        its inputs or its files are others: the reason goes on record."""
        found = self.find(CHECKPOINT, inputs, KeptFiles)
        if found is None:
            return
        of_run, kept = found
        path = checkpoint_dir / kept.name
        try:
            if Path(kept.name).name != kept.name:
                raise DataRejected(f"{kept.name!r} is no name of a checkpoint")
            self.objects.fetch_directory(f"{self._files('checkpoint')}{digest_of(dict(kept.sha256_by_name))}", path)
            if _digests_of(path) != kept.sha256_by_name:
                raise DataRejected("its files were changed after they were written")
        except (RatchetError, OSError) as error:
            shutil.rmtree(path, ignore_errors=True)
            self.note_anew(CHECKPOINT, printable(str(error)))
            return
        self.note_taken(CHECKPOINT, of_run, kept.name)

    def drop_checkpoint(self) -> None:
        """The training is over. The result goes before the files that it names."""
        self.objects.delete(self._uri_of(CHECKPOINT))
        for uri in list(self.objects.list_uris(self._files("checkpoint"))):
            self.objects.delete(uri)

    def _put_files(
        self, folder: str, step: str, inputs: Mapping[str, str], result: BaseModel, *, path: Path, digest: str
    ) -> None:
        root = self._files(folder)
        self.objects.put_directory(path, f"{root}{digest}")
        self.put(step, inputs, result)
        for uri in [uri for uri in self.objects.list_uris(root) if not uri.startswith(f"{root}{digest}/")]:
            self.objects.delete(uri)

    def fetch_model(self, path: Path, *, digest: str) -> bool:
        """Put the model of a result into `path`; False, with the reason on record, unless it is that model."""
        shutil.rmtree(path, ignore_errors=True)
        try:
            self.objects.fetch_directory(f"{self._files('model')}{digest}", path)
            read_model(path, expected_digest=digest)
        except (RatchetError, OSError, ValueError) as error:
            shutil.rmtree(path, ignore_errors=True)
            self.note_anew("finetune", printable(str(error)))
            return False
        return True

    def note_taken(self, step: str, of_run: str, what: str) -> None:
        """Say that a step did no work: its result is that of an earlier attempt, or of an earlier run."""
        whose = "an earlier attempt of this run" if of_run == self.run_id else f"run {of_run}"
        self._note(step, of_run, f"taken over from {whose}: {what}")

    def note(self, step: str, text: str) -> None:
        """Say what a step did otherwise than a reader of its run would think."""
        self._note(step, "", text)

    def note_anew(self, step: str, why: str) -> None:
        self._note(step, "", f"done again, nothing is taken over: {why}")

    def _note(self, step: str, taken_from: str, text: str) -> None:
        log.info("%s: %s", step, text)
        RunOutcomes(self.objects, self.bucket).put_origin(
            self.run_id, Origin(step=step, taken_from=taken_from, text=text)
        )

    def _fetch(self, step: str) -> Finished | None:
        try:
            found = Finished.model_validate_json(self.objects.fetch(self._uri_of(step)))
        except NotFound:
            return None
        if digest_of(found.result) != found.digest:
            raise DataRejected(f"{self._uri_of(step)} was changed after it was written")
        return found

    def _is_of_this_or_a_failed_run(self, found: Finished) -> bool:
        """A run that ended well has nothing to repeat: who starts another one on the same labels wants a training."""
        if found.run_id == self.run_id:
            return True
        outcome = RunOutcomes(self.objects, self.bucket).fetch_outcome(found.run_id)
        return outcome is None or outcome.state != "SUCCEEDED"

    def _uri_of(self, step: str) -> str:
        return self._uri(self.task, f"{step}.json")

    def _files(self, folder: str) -> str:
        return self._uri(self.task, folder, "")


def _digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return "; ".join(f"{name} was {_short(before.get(name))}, is {_short(now.get(name))}" for name in names)


def _short(value: str | None) -> str:
    """A digest by its beginning."""
    if not value:
        return "none"
    return value[:12] if len(value) == 64 else value

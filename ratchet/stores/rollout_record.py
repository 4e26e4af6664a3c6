"""A rollout written down as it happens, so that a killed controller goes on and the verdict can be derived again.

`s3://ratchet/rollouts/<task>/<run_id>/` holds, each written once with `If-None-Match: *`:

- `begin.json`: who is rolled out against whom, and the whole policy. A later attempt of the run judges by it.
- `looks/<n:08d>.jsonl`: a line for each look, and a last line with the checkpoint: all evidence so far. Chunk n is
  written only by who has read chunk n - 1: of two controllers the slower finds its place taken, and leaves.
- `orders/<n:08d>.json`: what people asked for (rollout_orders.py).
- `fallback.json`: whether the champion could still be loaded, were this canary to be rolled back.
- `decided-<digest>.json`: the verdict that a ledger entry names (decisions.py).
- `verdict.json`: how it ended.

`s3://ratchet/rollouts/<task>/current.json` names the rollout that began last.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, model_validator

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.layouts import Layout
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import ObjectStore
from ratchet.core.rollout.history import History, JudgedLook
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import JUDGE_VERSION, Progress
from ratchet.core.rollout.window import LatencyLimits
from ratchet.core.verdict import Reason, Verdict
from ratchet.errand import Errand
from ratchet.parallel import map_parallel
from ratchet.stores.layout import Store
from wire.validation_text import validation_text

Part = TypeVar("Part", bound=BaseModel)


class RolloutBegin(BaseModel):
    """`begin.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    task: str
    run_id: str
    model: ModelRef
    champion: ModelRef
    policy: RolloutPolicy
    at: AwareDatetime
    judge_version: int = JUDGE_VERSION
    """Which judge judged it (core/rollout/progress.py); 1 in records that do not say."""

    @model_validator(mode="before")
    @classmethod
    def _judged_as_it_began(cls, data: object) -> object:
        """Records from before `on_no_traffic` waited, and are replayed so."""
        if not isinstance(data, dict) or not isinstance(policy := data.get("policy"), dict):
            return data
        return {"judge_version": 1} | data | {"policy": {"on_no_traffic": "wait"} | policy}


class Checkpoint(BaseModel):
    """What a controller needs to go on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    progress: Progress
    limits: LatencyLimits | None


@dataclass(frozen=True)
class Recorded:
    """One rollout as far as it is written down."""

    begin: RolloutBegin
    looks: tuple[JudgedLook, ...] = ()
    checkpoint: Checkpoint | None = None
    num_chunks: int = 0
    fallback: Reason | None = None
    verdict: Verdict | None = None

    @property
    def history(self) -> History:
        return History(looks=self.looks, limits=self.checkpoint.limits if self.checkpoint else None)

    @property
    def outcome(self) -> str:
        """What the judge came to; "" while it has not."""
        return self.checkpoint.progress.outcome if self.checkpoint else ""


class RolloutRecords(Store):
    """The records of every rollout."""

    layout: ClassVar[Layout] = "rollouts"

    def folder_of(self, task: str, run_id: str) -> str:
        return self._uri(task, run_id)

    def begin(self, begin: RolloutBegin) -> Recorded:
        """Open the record of a rollout; what an earlier attempt of the same run wrote is there already."""
        folder = self.folder_of(begin.task, begin.run_id)
        try:
            self.objects.put_if_absent(f"{folder}/begin.json", begin.model_dump_json(indent=2).encode())
        except Conflict:
            recorded = self.fetch(begin.task, begin.run_id)
            if recorded.begin.model.digest != begin.model.digest:
                raise Conflict(
                    f"{folder} is the record of model {recorded.begin.model.digest[:12]}, not of "
                    f"{begin.model.digest[:12]}: a run rolls out one model. Start a new run."
                ) from None
        else:
            recorded = Recorded(begin=begin)
        # Behind begin.json: it never names a record that is not there.
        self.objects.put(self._uri(begin.task, "current.json"), json.dumps({"run_id": begin.run_id}).encode())
        return recorded

    def fetch(self, task: str, run_id: str) -> Recorded:
        """All that is written down about a rollout. NotFound when there is no such one."""
        return self.reader(task, run_id).fetch()

    def fetch_begin(self, task: str, run_id: str) -> RolloutBegin:
        """Who is rolled out against whom. NotFound when there is no such rollout."""
        return self.reader(task, run_id).fetch_begin()

    def fetch_current_run_id(self, task: str) -> str:
        """The rollout of this task that began last; NotFound before the first."""
        try:
            return str(json.loads(self.objects.fetch(self._uri(task, "current.json")))["run_id"])
        except NotFound:
            raise NotFound(
                f"{task} has had no rollout yet. `ratchet run retrain --task {task}` trains a model and starts one."
            ) from None

    def has_verdict(self, task: str, run_id: str) -> bool:
        """Whether the record is closed."""
        return self.objects.exists(f"{self.folder_of(task, run_id)}/verdict.json")

    def put_fallback(self, reason: Reason, begin: RolloutBegin) -> None:
        self._put_part(reason, begin, "fallback.json")

    def put_verdict(self, verdict: Verdict, begin: RolloutBegin) -> None:
        """Close the record."""
        self._put_part(verdict, begin, "verdict.json")

    def reader(self, task: str, run_id: str) -> "RecordReader":
        return RecordReader(self.objects, self.folder_of(task, run_id), run_id=run_id)

    def writer(self, recorded: Recorded) -> "RecordWriter":
        folder = self.folder_of(recorded.begin.task, recorded.begin.run_id)
        return RecordWriter(self.objects, folder, num_chunks=recorded.num_chunks)

    def _put_part(self, part: BaseModel, begin: RolloutBegin, name: str) -> None:
        """The first stands."""
        uri = f"{self.folder_of(begin.task, begin.run_id)}/{name}"
        try:
            self.objects.put_if_absent(uri, part.model_dump_json(indent=2).encode())
        except Conflict:
            return


class RecordReader:
    """One rollout's record, read again and again: each time only what is new."""

    def __init__(self, objects: ObjectStore, folder: str, *, run_id: str) -> None:
        self._objects, self._folder, self._run_id = objects, folder, run_id
        self._recorded: Recorded | None = None
        self._newest_uri = ""

    def fetch(self) -> Recorded:
        recorded = self._recorded or Recorded(begin=self.fetch_begin())
        uris = list(self._objects.list_uris(f"{self._folder}/looks/", start_after=self._newest_uri))
        chunks = map_parallel(self._objects.fetch, uris)
        parsed = [_parse_chunk(chunk, where=uri) for uri, chunk in zip(uris, chunks, strict=True)]
        self._recorded = Recorded(
            begin=recorded.begin,
            looks=(*recorded.looks, *(look for looks, _ in parsed for look in looks)),
            checkpoint=parsed[-1][1] if parsed else recorded.checkpoint,
            num_chunks=recorded.num_chunks + len(uris),
            fallback=recorded.fallback or _fetch_part(Reason, self._objects, f"{self._folder}/fallback.json"),
            verdict=recorded.verdict or _fetch_part(Verdict, self._objects, f"{self._folder}/verdict.json"),
        )
        self._newest_uri = uris[-1] if uris else self._newest_uri
        return self._recorded

    def fetch_begin(self) -> RolloutBegin:
        uri = f"{self._folder}/begin.json"
        try:
            return RolloutBegin.model_validate_json(self._objects.fetch(uri))
        except NotFound:
            raise NotFound(
                f"{uri} does not exist: run {self._run_id!r} has no recorded rollout. "
                "`ratchet rollout status --task T --json` names the last one's run id."
            ) from None
        except ValidationError as error:
            raise DataRejected(f"{uri}: {validation_text(error)}. {_WRITTEN_ONCE}") from None


class RecordWriter:
    """Appends looks to a record, chunk by chunk, in a thread of its own."""

    def __init__(self, objects: ObjectStore, folder: str, *, num_chunks: int) -> None:
        self._objects, self._folder, self._num_chunks = objects, folder, num_chunks
        self._looks: list[JudgedLook] = []
        self._checkpoint: Checkpoint | None = None
        self._chunk = b""
        self._errand = Errand(self._put, name="rollout-record")

    def add(self, judged: JudgedLook, checkpoint: Checkpoint) -> None:
        self._looks.append(judged)
        self._checkpoint = checkpoint

    def flush(self, *, wait_s: float) -> bool:
        """Whether all of it is stored, after waiting this long. Conflict when another controller writes this record."""
        while self._chunk or self._checkpoint is not None:
            if not self._chunk and self._checkpoint is not None:
                self._chunk = render_chunk(self._looks, self._checkpoint)
                self._looks, self._checkpoint = [], None
            if self._errand.ask(wait_s=wait_s) is None:
                return False
            self._chunk, self._num_chunks = b"", self._num_chunks + 1
        return True

    def close(self) -> None:
        self._errand.close()

    def _put(self) -> bool:
        """A chunk keeps its bytes until it is stored: a PUT whose answer was lost is then found to be our own."""
        uri, chunk = f"{self._folder}/looks/{self._num_chunks + 1:08d}.jsonl", self._chunk
        try:
            self._objects.put_if_absent(uri, chunk)
        except Conflict:
            if self._objects.fetch(uri) != chunk:
                raise Conflict(
                    f"{uri}: another controller continues this rollout, and this one stops. `ratchet rollout status` "
                    f"shows its state."
                ) from None
        return True


def render_chunk(looks: Iterable[JudgedLook], checkpoint: Checkpoint) -> bytes:
    lines = [f'{{"look":{look.model_dump_json()}}}' for look in looks]
    return "\n".join([*lines, f'{{"checkpoint":{checkpoint.model_dump_json()}}}', ""]).encode()


def _parse_chunk(chunk: bytes, *, where: str) -> tuple[Sequence[JudgedLook], Checkpoint]:
    *looks, last = (_Line.model_validate_json(line) for line in chunk.splitlines())
    if last.checkpoint is None or any(line.look is None for line in looks):
        raise DataRejected(f"{where}: not a chunk of looks with a checkpoint at its end. {_WRITTEN_ONCE}")
    return [line.look for line in looks if line.look is not None], last.checkpoint


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    look: JudgedLook | None = None
    checkpoint: Checkpoint | None = None


_WRITTEN_ONCE = "Records are written once and never edited; restore this object from its backup."


def _fetch_part(kind: type[Part], objects: ObjectStore, uri: str) -> Part | None:
    try:
        return kind.model_validate_json(objects.fetch(uri))
    except NotFound:
        return None

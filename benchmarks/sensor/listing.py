"""What one look at the labels costs with many old shards and versions behind it, against few.

Two tasks in one SeaweedFS whose looks take turns, so that a busy machine is as busy for both. Shards landed at one rate
in both and up to the same moment: one has a long past, the other a short one. Each has an accepted version up to its
last old shard, and ten new shards after it. `look_back` is the look that comes every 10 s.
"""

import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.sensor.old_shards import list_old_keys, load_old_shards
from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.judged_shards import LATE
from ratchet.actions.labels.memory import LOOK_BACK_EVERY_S, Memory
from ratchet.actions.labels.stores import LabelStores
from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.git import GitRepo
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.labels.dataset import version_name
from ratchet.core.labels.judged import ACCEPTED
from ratchet.core.labels.shards import ShardCounts, first_key_at, landed_at_of, shard_key_of
from ratchet.core.uris import s3_uri
from ratchet.core.verdict import Reason, Verdict
from ratchet.settings import Settings, parse_profile, settings_of
from ratchet.stores.contents import Contents
from ratchet.stores.quarantine_orders import QuarantineOrders
from ratchet.stores.verdicts import Verdicts

PROJECT_DIR = Path(__file__).parent.parent.parent
RATIO_MAX = 1.2
_NUM_FEW = 1_000
_FEW_VERSIONS = 2
_NUM_NEW = 10
_NUM_LOOKS = 100
_NUM_FIRST_LOOKS = 10
_DAYS = 100
_FILLED = "old-shards.json"


class Filled(NamedTuple):
    """A task with many old shards."""

    task: str
    last_key: str
    num_shards: int
    """As a full listing counts them."""
    full_listing_s: float


class CountedObjects(S3ObjectStore):
    """Counts the requests that a look makes, each page of a listing as one."""

    num_calls = 0

    def _count(self, **_: object) -> None:
        self.num_calls += 1

    @classmethod
    def of(cls, settings: Settings) -> "CountedObjects":
        found = super().of(settings)
        assert isinstance(found, cls)
        found._client.meta.events.register("before-send.s3", found._count)
        return found


class CountedRepo(GitRepo):
    """Counts the git processes that a look starts."""

    num_calls = 0

    def _run(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        self.num_calls += 1
        return super()._run(*arguments, stdin=stdin)


class Look(NamedTuple):
    """The median of a number of looks."""

    ms: float
    num_calls: float
    """To S3 and to git."""


class Stores:
    """What one process looks with, and what it remembers."""

    def __init__(self, settings: Settings, *, task: str, repo: Path, looks_back: bool = False) -> None:
        """looks_back: list the 15 minutes before the watermark at each look, which is done every 10 s otherwise."""
        self._task, bucket = task, settings.ratchet_bucket
        self._objects = CountedObjects.of(settings)
        self._repo = CountedRepo(str(repo), variable="RATCHET_DATASET_REPO")
        labels = S3LabelStore(self._objects, bucket=settings.labels_bucket)
        datasets = DvcDatasetStore(
            self._repo, self._objects, bucket=settings.dvc_bucket, endpoint=settings.s3_endpoint, region="us-east-1"
        )
        self._stores = LabelStores(
            labels,
            datasets,
            verdicts=Verdicts(self._objects, bucket),
            contents=Contents(self._objects, bucket),
            orders=QuarantineOrders(self._objects, bucket),
        )
        always_due = itertools.count(0, LOOK_BACK_EVERY_S)
        self._memory = Memory(lambda: next(always_due)) if looks_back else Memory()

    def look(self) -> Look:
        before = self._objects.num_calls + self._repo.num_calls
        started = time.perf_counter()
        pending = list_pending(self._stores, task=self._task, memory=self._memory)
        took_ms = 1000 * (time.perf_counter() - started)
        assert (pending.num_labels, pending.num_by_class) == (_NUM_NEW, {"7": _NUM_NEW}), pending
        return Look(took_ms, self._objects.num_calls + self._repo.num_calls - before)


NewStores = partial[Stores]
"""A process that knows nothing yet."""


def measure_tick_cost(
    num_old: int, *, num_versions: int = 10_000, state_dir: Path | None = None
) -> list[dict[str, Any]]:
    """Rows of the benchmark. state_dir: keep the filled bucket here, and use it when it is there already."""
    with (
        tempfile.TemporaryDirectory(prefix="ratchet-bench-") as folder,
        _object_store(state_dir or Path(folder) / "state") as settings,
    ):
        filled = _fill_both(settings, num_old)
        few, many = (
            _prepare(settings, one, num_versions=num, folder=Path(folder))
            for one, num in zip(filled, (_FEW_VERSIONS, num_versions), strict=True)
        )
        first = _measure_first(few, many)
        steady = _measure_steady(few, many)
        back = _measure_steady(partial(few, looks_back=True), partial(many, looks_back=True))
    num_shards = f"{filled[1].num_shards}_old"
    full_ms = 1000 * filled[1].full_listing_s
    return [
        _row(f"sensor.look_{num_shards}", steady[1].ms, steady[0].ms, unit="ms"),
        _row(f"sensor.look_calls_{num_shards}", steady[1].num_calls, steady[0].num_calls, unit="calls"),
        _row(f"sensor.look_back_{num_shards}", back[1].ms, back[0].ms, unit="ms"),
        {**_row(f"sensor.first_look_{num_shards}", first[1].ms, first[0].ms, unit="ms"), "goal": None, "ok": True},
        _row(f"sensor.first_look_calls_{num_shards}", first[1].num_calls, first[0].num_calls, unit="calls"),
        {
            **_row(f"sensor.look_against_full_listing_{num_shards}", steady[1].ms, full_ms, unit="ms"),
            "goal": None,
            "ok": steady[1].ms < full_ms,
        },
    ]


def _row(name: str, value: float, peer: float, *, unit: str) -> dict[str, Any]:
    """The peer is the same with 1,000 old shards and two versions, unless the name says otherwise."""
    ratio = value / peer
    numbers = {"value": round(value, 2), "unit": unit, "peer": round(peer, 2), "ratio": round(ratio, 6)}
    return {"name": name, **numbers, "goal": RATIO_MAX, "ok": ratio <= RATIO_MAX}


@contextmanager
def _object_store(state_dir: Path) -> Iterator[Settings]:
    base = Settings(state_dir=state_dir)
    start_stack(base, project_dir=PROJECT_DIR, services=(OBJECT_STORE,), is_detached=False)
    try:
        profile = state_dir / "profile.env"
        yield settings_of(parse_profile(profile.read_text(), where=str(profile)))
    finally:
        stop_stack(layout_of(base))


def _fill_both(settings: Settings, num_old: int) -> tuple[Filled, Filled]:
    """1,000 old shards and `num_old`, the last ones of both at the same rate up to yesterday."""
    step_s = _DAYS * 86_400 / num_old
    many = _fill(settings, f"old{num_old}", num_old, last_at=datetime.now(UTC) - timedelta(days=1), step_s=step_s)
    few = _fill(settings, f"few{num_old}", _NUM_FEW, last_at=landed_at_of(many.last_key), step_s=step_s)
    return few, many


def _fill(settings: Settings, task: str, num_shards: int, *, last_at: datetime, step_s: float) -> Filled:
    path = settings.state_dir / _FILLED
    known = json.loads(path.read_text()) if path.is_file() else {}
    if task not in known:
        first_at = last_at - timedelta(seconds=step_s * (num_shards - 1))
        keys = list_old_keys(task, num_shards=num_shards, first_at=first_at, step_s=step_s)
        ports = json.loads((settings.state_dir / "ports.json").read_text())
        master = f"127.0.0.1:{ports['weed_master']}.{ports['weed_master_grpc']}"
        load_old_shards(settings.state_dir, keys, bucket=settings.labels_bucket, master=master)
        known[task] = _list_all(settings, task)._asdict()
        path.write_text(json.dumps(known))
    return Filled(**known[task])


def _list_all(settings: Settings, task: str) -> Filled:
    started = time.perf_counter()
    num_shards, last = 0, ""
    for uri in S3ObjectStore.of(settings).list_uris(s3_uri(settings.labels_bucket, f"{task}/")):
        num_shards, last = num_shards + 1, uri
    key = last.removeprefix(s3_uri(settings.labels_bucket, ""))
    return Filled(task, key, num_shards, time.perf_counter() - started)


def _prepare(settings: Settings, filled: Filled, *, num_versions: int, folder: Path) -> NewStores:
    """Versions of which the newest holds all old shards, and new shards after it."""
    repo = folder / f"{filled.task}.git"
    _make_repo(repo, [version_name(filled.task, number) for number in range(1, num_versions + 1)])
    objects = S3ObjectStore.of(settings)
    labels = S3LabelStore(objects, bucket=settings.labels_bucket)
    last_keys = _list_last_keys(labels, filled)
    day_before = shard_key_of(filled.task, landed_at_of(filled.last_key) - timedelta(days=1), bytes(10))
    _accept(settings, objects, version_name(filled.task, num_versions), filled.last_key, shards=last_keys)
    _accept(settings, objects, version_name(filled.task, num_versions - 1), day_before, shards=[day_before])
    for shard in labels.list_shards(filled.task, after=filled.last_key):
        objects.delete(s3_uri(settings.labels_bucket, shard.key))
    for number in range(_NUM_NEW):
        counts = ShardCounts(num_by_class={"7": 1}, num_by_labeler={"ada": 1})
        # A number of its own in each: equal shards count once.
        labels.put_shard(filled.task, b'{"number": %50d}\n' % number, num_labels=1, counts=counts)
    return partial(Stores, settings, task=filled.task, repo=repo)


def _list_last_keys(labels: S3LabelStore, filled: Filled) -> list[str]:
    """The old shards that a look still sees: it begins a while before the watermark, for late ones."""
    after = first_key_at(filled.task, landed_at_of(filled.last_key) - LATE)
    return [shard.key for shard in labels.list_shards(filled.task, after=after) if shard.key <= filled.last_key]


def _accept(settings: Settings, objects: S3ObjectStore, version: str, watermark: str, *, shards: list[str]) -> None:
    verdicts = Verdicts(objects, settings.ratchet_bucket)
    objects.delete(verdicts.uri_of(version))
    reason = Reason(check="benchmark", value=None, limit=None, passed=True, text="benchmark")
    inputs = {"watermark": watermark, "shards": shards, "quarantined": []}
    verdict = Verdict(kind="validate", verdict=ACCEPTED, reasons=(reason,), inputs=inputs)
    verdicts.put(verdict, version=version)


def _make_repo(path: Path, tags: list[str]) -> None:
    """A bare repository with these tags on one commit, packed as the `git gc` after a push leaves them."""
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(path))
    git_dir = f"--git-dir={path}"
    tree = _git(git_dir, "hash-object", "-w", "-t", "tree", "/dev/null")
    author = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
    commit = _git(git_dir, *author, "commit-tree", tree, "-m", "benchmark")
    refs = ["refs/heads/main", *(f"refs/tags/{tag}" for tag in tags)]
    _git(git_dir, "update-ref", "--stdin", stdin="".join(f"create {ref} {commit}\n" for ref in refs))
    _git(git_dir, "pack-refs", "--all")


def _git(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["git", *arguments], input=stdin, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _measure_first(*makers: NewStores) -> list[Look]:
    """Of processes that know nothing yet: versions, verdict, markers and metadata are all asked for."""
    return _medians([[make().look() for make in makers] for _ in range(_NUM_FIRST_LOOKS)])


def _measure_steady(*makers: NewStores) -> list[Look]:
    all_stores = [make() for make in makers]
    for stores in all_stores:
        stores.look()
    return _medians([[stores.look() for stores in all_stores] for _ in range(_NUM_LOOKS)])


def _medians(rounds: Sequence[Sequence[Look]]) -> list[Look]:
    return [
        Look(median(look.ms for look in looks), median(look.num_calls for look in looks))
        for looks in zip(*rounds, strict=True)
    ]

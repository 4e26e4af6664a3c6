"""What it costs to add labels to many, and to put labels of many right: `python -m benchmarks.adding [--quick]`.

A real object store and git. Peers in the same run: DVC with one file a label (`dvc add`, `dvc push`), and a raw PUT of
the same bytes. Rows have 4 numbers; what is measured is `ingest`, which makes the version.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.data import Timer
from components.ingest.step import Paths, ingest_step
from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.actions.labels.stores import LabelStores
from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.labels.judged import ACCEPTED
from ratchet.core.uris import s3_uri
from ratchet.core.verdict import Reason, Verdict
from ratchet.settings import Settings, parse_profile, settings_of
from ratchet.tasks.spec import TaskSpec
from tests.stores import label_stores

_NEW = 1_000
_NUM_TURNS = 15
_NAMES = ("a", "b", "c", "d")
_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Room:
    """One task with its stores."""

    def __init__(self, settings: Settings, task: str, folder: Path) -> None:
        self.spec = TaskSpec.model_validate(
            {
                "name": task,
                "inputs": [{"name": name, "type": "number"} for name in _NAMES],
                "output": {"type": "category", "classes": ["no", "yes"]},
                "model": {"kind": "tabular"},
                "reviewers": ["eve"],
            }
        )
        self.settings, self.folder, self.objects = settings, folder, S3ObjectStore.of(settings)
        self.labels = S3LabelStore(self.objects, bucket=settings.labels_bucket)
        self.datasets = DvcDatasetStore.of(settings, self.objects)

    @property
    def stores(self) -> LabelStores:
        return label_stores(self.labels, self.datasets, self.objects, bucket=self.settings.ratchet_bucket)

    def push(self, ids: range, *, label: str = "no", labeler: str = "ada") -> bytes:
        data = lines_of(ids, label=label, labeler=labeler)
        self.labels.put_shard(self.spec.name, data, num_labels=len(ids))
        return data

    def ingest(self) -> dict[str, float]:
        """Makes a version and says that it was accepted."""
        before, timer = self.num_bytes(), Timer()
        paths = Paths(*(str(self.folder / name) for name in ("incoming", "reference", "manifest", "rejected")))
        version, _ = ingest_step(self.spec, run_key="k", stores=self.stores, paths=paths)
        found = timer.taken()
        manifest = self.datasets.fetch_manifest(version)
        shards = [shard.key for shard in self.labels.list_shards(self.spec.name)]
        inputs = {"version": version, "watermark": manifest.watermark, "shards": shards, "quarantined": []}
        fine = Reason(check="benchmark", value=0, limit=None, passed=True, text="not judged")
        self.stores.verdicts.put(
            Verdict(kind="validate", verdict=ACCEPTED, reasons=(fine,), inputs=inputs), version=version
        )
        return {**found, "num_bytes": float(self.num_bytes() - before)}

    def num_bytes(self) -> int:
        return sum(item.size_bytes for item in self.objects.list_objects(s3_uri(self.settings.dvc_bucket, "files/")))


def lines_of(ids: range, *, label: str, labeler: str) -> bytes:
    said = f'"label":"{label}","labeler":"{labeler}","labeled_at":"2026-01-01T12:00:00Z"}}\n'
    numbers = ({name: (each * 7 + place) / 3 for place, name in enumerate(_NAMES)} for each in ids)
    rows = zip(ids, numbers, strict=True)
    return "".join(f'{{"id":"row-{each}","inputs":{json.dumps(row)},{said}' for each, row in rows).encode()


def fill(room: Room, num: int) -> None:
    for start in range(0, num, 200_000):
        room.push(range(start, min(num, start + 200_000)))
    room.ingest()


def dvc_of_files(folder: Path, num: int) -> float:
    """Seconds to add files of one label each to as many as there are, and to push them to a folder beside it."""

    def dvc(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, check=True, capture_output=True)

    def write(ids: range) -> None:
        for each in ids:
            (folder / "labels" / f"{each}.json").write_bytes(lines_of(range(each, each + 1), label="no", labeler="ada"))

    (folder / "labels").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    dvc("init", "--quiet")
    dvc("remote", "add", "--default", "beside", str(folder.parent / "remote"))
    write(range(num))
    dvc("add", "--quiet", "labels")
    dvc("push", "--quiet")
    write(range(num, num + _NEW))
    began = time.perf_counter()
    dvc("add", "--quiet", "labels")
    dvc("push", "--quiet")
    return time.perf_counter() - began


def push_and_put(room: Room, data: bytes) -> tuple[float, float]:
    """Seconds to push labels, and to PUT the same bytes: the median of turns that take each other's place."""
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(_NUM_TURNS):
        began = time.perf_counter()
        room.labels.put_shard("beside", data, num_labels=_NEW)
        pushed = time.perf_counter()
        room.objects.put(s3_uri(room.settings.labels_bucket, f"raw/{turn}"), data)
        took[0].append(pushed - began)
        took[1].append(time.perf_counter() - pushed)
    return median(took[0]), median(took[1])


def measure(settings: Settings, folder: Path, sizes: Sequence[int], num_files: int) -> list[dict[str, Any]]:
    added: dict[int, dict[str, float]] = {}
    for num in sizes:
        room = Room(settings, f"rows-{num}", folder)
        fill(room, num)
        data = room.push(range(num, num + _NEW))
        added[num] = room.ingest()
    push_s, raw_s = push_and_put(room, data)
    room.push(range(_NEW), label="yes", labeler="eve")
    righted = room.ingest()
    dvc_s = dvc_of_files(folder / "dvc", num_files)
    small, large = added[sizes[0]], added[sizes[-1]]
    middle, most = added[num_files], f"{sizes[-1]:,}"
    rise = large["cpu_s"] / small["cpu_s"]
    cpu_s, size = righted["cpu_s"], righted["num_bytes"] / 1e6
    return [
        _row(f"add {_NEW:,} to {num_files:,}", middle["wall_s"], "s", dvc_s / middle["wall_s"], 50, at_least=True),
        _row("push of these against a raw PUT", 1000 * push_s, "ms", push_s / raw_s, 2),
        _row(f"add to {most} against {sizes[0]:,}, CPU", large["cpu_s"], "s", rise, 1.2),
        _row(f"relabel {_NEW:,} of {most}, CPU", cpu_s, "s", cpu_s, 0.5),
        _row(f"relabel {_NEW:,} of {most}, stored", size, "MB", size, 0.3),
    ]


def _row(name: str, value: float, unit: str, ratio: float, goal: float, *, at_least: bool = False) -> dict[str, Any]:
    is_met = ratio >= goal if at_least else ratio <= goal
    return {"name": name, "value": round(value, 3), "unit": unit, "ratio": round(ratio, 2), "goal": goal, "ok": is_met}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="1,000, 2,000 and 20,000 existing labels")
    is_quick = parser.parse_args().quick
    sizes, num_files = ((1_000, 2_000, 20_000), 2_000) if is_quick else ((10_000, 50_000, 1_000_000), 50_000)
    with tempfile.TemporaryDirectory(prefix="adding-") as name:
        folder = Path(name)
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(folder / "repo.git")], check=True
        )
        base = Settings(state_dir=folder / "state")
        start_stack(base, project_dir=Path(__file__).parents[1], services=(OBJECT_STORE,), is_detached=False)
        try:
            profile = base.state_dir / "profile.env"
            settings = settings_of(parse_profile(profile.read_text(), where=str(profile)))
            settings = settings.model_copy(update={"dataset_repo": str(folder / "repo.git")})
            rows = measure(settings, folder, sizes, num_files)
        finally:
            stop_stack(layout_of(base))
    for row in rows:
        print(f"{row['name']:<45} {row['value']:>10} {row['unit']:<3} ratio {row['ratio']:>8}  goal {row['goal']}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

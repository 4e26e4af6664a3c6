"""What the data steps cost: `python -m benchmarks.data [--quick]`.

Peers in the same run: pandas reading and writing the same rows, and Great Expectations alone on the same rules. Rows
have 20 number inputs and one of two classes. Each case is a process of its own, so that its peak memory is its own.

One module, over 300 lines: each case is a few lines that nothing else uses.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

GOAL_INGEST, GOAL_VALIDATE = 200_000, 100_000
GOAL_MEMORY_BYTES = 4 << 30
_SHARD_ROWS = 50_000
_NUM_INPUTS = 20
_NAMES = [f"x{number}" for number in range(_NUM_INPUTS)]
_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
_TASK = {
    "name": "table",
    "inputs": [{"name": name, "type": "number", "min": -1e9, "max": 1e9} for name in _NAMES],
    "output": {"type": "category", "classes": ["no", "yes"]},
    "model": {"kind": "tabular"},
}


def write_shards(folder: Path, num_rows: int, *, kind: str) -> None:
    """JSON lines or Parquet; each row is another."""
    random = np.random.default_rng(0)
    for start in range(0, num_rows, _SHARD_ROWS):
        num = min(_SHARD_ROWS, num_rows - start)
        values = random.normal(size=(num, _NUM_INPUTS)).round(6)
        path = folder / f"{start:09d}.{kind}"
        path.write_bytes(_lines(values, start) if kind == "jsonl" else _parquet(values, start))


def _lines(values: np.ndarray, start: int) -> bytes:
    template = ",".join(f'"{name}":%r' for name in _NAMES)
    said = (
        '{"id":"row-%d","inputs":{' + template + '},"label":"%s","labeler":"ada","labeled_at":"2026-01-01T12:00:00Z"}\n'
    )
    rows = ((start + row, *numbers, "yes" if row % 2 else "no") for row, numbers in enumerate(values.tolist()))
    return "".join([said % row for row in rows]).encode()


def _parquet(values: np.ndarray, start: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    num = len(values)
    inputs = pa.StructArray.from_arrays([pa.array(column) for column in values.T], names=_NAMES)
    columns = {
        "id": pa.array([f"row-{start + row}" for row in range(num)]),
        "inputs": inputs,
        "label": pa.array(["no", "yes"] * (num // 2)),
        "labeler": pa.array(["ada"] * num),
        "labeled_at": pa.array([_AT] * num, pa.timestamp("us", tz="UTC")),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def run_ours(folder: Path, *, steps: str) -> dict[str, float]:
    """What the last of the steps took. Those before it are run as well, and count in the peak of memory."""
    from components.ingest.step import Paths, ingest_step
    from components.validate.step import Paths as ValidatePaths
    from components.validate.step import Stores, validate_step
    from ratchet.core.labels.quality import QualityPolicy
    from ratchet.stores.contents import Contents
    from ratchet.stores.example_signatures import ExampleSignatures
    from ratchet.stores.findings import Findings
    from ratchet.stores.signals import Signals
    from ratchet.stores.verdicts import Verdicts
    from ratchet.tasks.spec import TaskSpec
    from tests.fakes.object_store import FakeObjectStore
    from tests.stores import label_stores

    spec, labels, objects = TaskSpec.model_validate(_TASK), _labels_on_disk(folder), FakeObjectStore()
    out = folder / "out"
    out.mkdir(exist_ok=True)
    names = [str(out / name) for name in ("incoming", "reference", "manifest", "rejected", "report", "verdict")]
    stores = label_stores(labels, _datasets_on_disk(out), objects)
    timer = Timer()
    version, num_new = ingest_step(spec, run_key="k", stores=stores, paths=Paths(*names[:4]))
    found = {**timer.taken(), "num_rows": float(num_new)}
    if steps == "validate":
        import great_expectations  # noqa: F401 - its import, 4 s, is not measured, nor is the peer's

        bucket = "ratchet"
        found_in = Contents(objects, bucket), Signals(objects, bucket), Findings(objects, bucket)
        kept = Stores(labels, Verdicts(objects, bucket), *found_in, stores.datasets, ExampleSignatures(objects, bucket))
        timer = Timer()
        verdict = validate_step(spec, version=version, policy=QualityPolicy(), stores=kept, paths=ValidatePaths(*names))
        assert verdict == "accepted", Path(names[5]).read_text()
        found |= timer.taken()
    if steps == "drift_check":
        found |= _drift_of(spec, version, stores.datasets, objects, names)
    if steps == "evaluate":
        found |= _evaluate_of(spec, version, stores.datasets, objects, out)
    return found


def _drift_of(spec: Any, version: str, datasets: Any, objects: Any, names: list[str]) -> dict[str, float]:
    """The look at the batch, and the sketch of its training rows that the next version's look needs."""
    from components.drift_check.step import Paths, Stores, drift_check_step
    from ratchet.actions.labels.sketching import fetch_sketch
    from ratchet.core.labels.drift.policy import DriftPolicy
    from ratchet.stores.drift_records import DriftRecords
    from ratchet.stores.page_libraries import PageLibraries
    from ratchet.stores.signals import Signals
    from ratchet.stores.sketches import Sketches
    from tests.fakes.ledger import FakeLedger

    bucket = "ratchet"
    stores = Stores(
        datasets,
        Sketches(objects, bucket),
        DriftRecords(objects, bucket),
        PageLibraries(objects, bucket),
        Signals(objects, bucket),
        FakeLedger(),
        objects,
    )
    timer = Timer()
    paths = Paths(names[0], names[1], names[4], names[5])
    drift_check_step(spec, version=version, policy=DriftPolicy(), stores=stores, now=_AT, paths=paths)
    fetch_sketch(spec, version, datasets=datasets, sketches=stores.sketches)
    return timer.taken()


def _evaluate_of(spec: Any, version: str, datasets: Any, objects: Any, out: Path) -> dict[str, float]:
    """Of an untrained challenger against an untrained champion, and once more through the real model server: what a
    gate costs does not depend on what it finds."""
    import yaml

    from components.evaluate.step import evaluate_step
    from ratchet.actions.labels.rows import fetch_split
    from ratchet.adapters.model_server import LocalModelServer
    from ratchet.core.models.evaluation import EvaluationPolicy
    from ratchet.core.models.ledger import LedgerEntry, ModelRef
    from ratchet.packaged import packaged_configs
    from ratchet.tasks.bound import TorchTask
    from ratchet.tasks.loading import load_task
    from ratchet.tasks.model_files import save_model
    from ratchet.training.split_rows import read_split
    from tests.components.data import finished_steps
    from tests.fakes.ledger import FakeLedger

    policy = yaml.safe_load((packaged_configs() / "policies" / "evaluation.yaml").read_text())
    manifest, path = datasets.fetch_manifest(version), out / "fit.parquet"
    fetch_split(datasets, manifest, "val", path, spec=spec)
    task = TorchTask(spec, load_task(spec)).fitted(read_split(path, spec)[0])
    digests = {
        name: save_model(out / name, spec=spec, network=task.build_model(), state=task.state)
        for name in ("champion", "challenger")
    }
    uri = f"s3://models/{spec.name}/{digests['champion']}"
    objects.put_directory(out / "champion", uri)
    champion = ModelRef(version="1", digest=digests["champion"], uri=uri, dataset_version=version)
    promoted = LedgerEntry(
        seq=1, task=spec.name, kind="promoted", model=champion, champion=champion, reason="", run_id="r", at=_AT
    )
    timer = Timer()
    evaluate_step(
        spec,
        manifest,
        out / "challenger",
        policy=EvaluationPolicy.model_validate(policy),
        datasets=datasets,
        objects=objects,
        ledger=FakeLedger([promoted]),
        probe=LocalModelServer(),
        finished=finished_steps(),
    )
    return timer.taken()


class Timer:
    """Wall clock and CPU of this process with all its threads: on a busy machine the second says more."""

    def __init__(self) -> None:
        self._began_s, self._cpu_s = time.perf_counter(), time.process_time()

    def taken(self) -> dict[str, float]:
        return {"wall_s": time.perf_counter() - self._began_s, "cpu_s": time.process_time() - self._cpu_s}


def _datasets_on_disk(folder: Path) -> Any:
    from ratchet.core.labels.dataset import DataFile, Manifest
    from tests.fakes.dataset_store import FakeDatasetStore

    class DiskDatasets(FakeDatasetStore):
        """Of a version that is made nothing stays in memory."""

        def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
            for file in manifest.files:
                (folder / file.md5).write_bytes(new_shards[file.path])
            super().commit_version(manifest, {})

        def fetch_shard(self, shard: DataFile) -> bytes:
            return (folder / shard.md5).read_bytes()

    return DiskDatasets()


def _labels_on_disk(folder: Path) -> Any:
    from ratchet.core.labels.shards import shard_key_of
    from tests.fakes.label_store import FakeLabelStore

    class DiskLabels(FakeLabelStore):
        """Shards are read when they are asked for: the memory that is measured is that of the steps."""

        def fetch_shard(self, key: str) -> bytes:
            return Path(super().fetch_shard(key).decode()).read_bytes()

    labels = DiskLabels(_AT)
    for number, path in enumerate(sorted(folder.glob("*.*"))):
        key = shard_key_of("table", _AT + timedelta(seconds=number), number.to_bytes(10, "big"))
        labels.put_at(key.replace("jsonl", path.suffix[1:]), str(path).encode())
    return labels


def run_pandas(folder: Path) -> dict[str, float]:
    """Read and write alone: no check, no majority, no split, no index."""
    import pandas as pd

    timer, num_rows = Timer(), 0
    for path in sorted(folder.glob("*.*")):
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_json(path, lines=True)
        num_rows += len(frame)
        frame.to_parquet(folder / "pandas.out")
    return {**timer.taken(), "num_rows": float(num_rows)}


def run_gx(folder: Path) -> dict[str, float]:
    """Great Expectations with the same rules on plain columns, as its documentation has it."""
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    frame: pd.DataFrame = pa.concat_tables(tables).flatten().to_pandas()
    timer = Timer()
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("labels").add_dataframe_asset("incoming")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    given = ("id", "label", "labeler", "labeled_at", *(f"inputs.{name}" for name in _NAMES))
    rules: list[Any] = [gxe.ExpectColumnValuesToNotBeNull(column=name) for name in given]
    rules += [gxe.ExpectColumnValuesToBeBetween(column=f"inputs.{x}", min_value=-1e9, max_value=1e9) for x in _NAMES]
    rules += [gxe.ExpectColumnValueLengthsToBeBetween(column="id", min_value=1, max_value=256)]
    rules += [gxe.ExpectColumnValuesToBeInSet(column="label", value_set=["no", "yes"])]
    assert batch.validate(gx.ExpectationSuite(name="labels", expectations=rules)).success
    return {**timer.taken(), "num_rows": float(len(frame))}


def measure(folder: Path, case: str) -> dict[str, float]:
    """In a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", "--case", case, "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-4_000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


CASES: dict[str, Any] = {
    "ingest": lambda folder: run_ours(folder, steps="ingest"),
    "validate": lambda folder: run_ours(folder, steps="validate"),
    "drift_check": lambda folder: run_ours(folder, steps="drift_check"),
    "evaluate": lambda folder: run_ours(folder, steps="evaluate"),
    "pandas": run_pandas,
    "gx": run_gx,
}


STEPS = {
    "ingest": ("pandas", GOAL_INGEST),
    "validate": ("gx", GOAL_VALIDATE),
    "drift_check": ("", GOAL_VALIDATE),
    "evaluate": ("", 0),
}
"""Each with its peer and its goal in rows a second of the version; an evaluation reads its test rows alone."""


def results(sizes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for kind in ("jsonl", "parquet"):
        peaks: dict[str, list[float]] = {}
        for num_rows in sizes:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                write_shards(folder, num_rows, kind=kind)
                for step in STEPS if kind == "parquet" else ("ingest",):
                    found, (peer, goal) = measure(folder, step), STEPS[step]
                    assert found["num_rows"] == num_rows
                    peaks.setdefault(step, []).append(found["peak_bytes"])
                    yield _row(
                        f"{step} of {num_rows:,} rows, {kind}", found, measure(folder, peer) if peer else {}, goal
                    )
        for step, (small, *_, large) in peaks.items():
            yield {
                "name": f"peak memory of {step}, {sizes[-1]:,} rows, {kind}",
                "value": round(large / 2**20),
                "unit": "MiB",
                "peer": round(small / 2**20),
                "ratio": round(large / small, 2),
                "goal": f"<= {GOAL_MEMORY_BYTES >> 20:,} MiB",
                "ok": large <= GOAL_MEMORY_BYTES,
            }


def _row(name: str, ours: dict[str, float], peer: dict[str, float], goal: int) -> dict[str, Any]:
    value = ours["num_rows"] / ours["wall_s"]
    other = peer["num_rows"] / peer["wall_s"] if peer else 0.0
    return {
        "name": name,
        "value": round(value),
        "unit": "rows/s",
        "peer": round(other),
        "ratio": round(value / other, 2) if peer else None,
        "goal": f">= {goal:,}",
        "ok": value >= goal,
        "cpu_s": round(ours["cpu_s"], 2),
        "peer_cpu_s": round(peer.get("cpu_s", 0.0), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 and 50,000 rows instead of 100,000 and 1,000,000")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        found = CASES[given.case](given.folder)
        print(json.dumps({**found, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
        return
    rows = []
    for row in results((20_000, 50_000) if given.quick else (100_000, 1_000_000)):
        print(
            f"{row['name']:<50} {row['value']:>12,} {row['unit']:<7} peer {row['peer']:>10,}  goal {row['goal']:<12}"
            + (f" CPU {row['cpu_s']:>6} s, peer {row['peer_cpu_s']} s" if "cpu_s" in row else ""),
            flush=True,
        )
        rows.append(row)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

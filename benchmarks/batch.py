"""Answers of `ratchet predict --batch` a second, beside two peers: `python -m benchmarks.batch [--quick]`.

A table of 8 numbers and 2 categories, the kind `tabular` with random weights. All read the same file and write JSON
lines with the answer and all scores. Peers in the same run: a script of pandas and torch without any check (it reads
Parquet at once and writes with `to_json`), and a loop of requests of 64 rows to the model server on loopback.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ratchet.actions.models.batch_inputs import BatchSources
from ratchet.actions.models.batch_places import LocalPlace
from ratchet.actions.models.batch_predicting import Ask, BatchPorts, predict_batch
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.serving.request_images import RequestImages
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.code_collect import collect_task_code
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import load_model, save_model
from ratchet.tasks.spec import TaskSpec
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore

GOAL_ROWS_S = 20_000
_SERVED_ROWS = 4_096
"""Of the loop over HTTP; its rate does not depend on how many there are."""
_READY_S_MAX = 60.0
"""Its imports take 5 to 7 s of CPU time."""
_NUMBERS = [f"n{place}" for place in range(8)]
_CATEGORIES = ["carrier", "airport"]
SPEC = TaskSpec.model_validate(
    {
        "name": "flights",
        "inputs": [
            *({"name": name, "type": "number"} for name in _NUMBERS),
            *({"name": name, "type": "category"} for name in _CATEGORIES),
        ],
        "output": {"type": "category", "classes": ["no", "yes"]},
        "model": {"kind": "tabular"},
    }
)


def table_of_rows(num: int) -> pa.Table:
    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {"id": [f"r{row}" for row in range(num)]}
    columns |= {name: draw.normal(size=num).round(4) for name in _NUMBERS}
    columns |= {name: draw.choice([f"{name}{place}" for place in range(20)], num) for name in _CATEGORIES}
    return pa.table(columns)


def save_champion(folder: Path, rows: pa.Table, objects: FakeObjectStore) -> FakeLedger:
    bound = TorchTask(SPEC, load_task(SPEC), None)
    few = rows.slice(0, 2_000).drop_columns(["id"])
    labels = pa.array(["no", "yes"] * (few.num_rows // 2))
    fitted = bound.fitted(few.append_column("label", labels))
    torch.manual_seed(0)
    network = fitted.build_model()
    digest = save_model(folder, spec=SPEC, network=network, code=collect_task_code(SPEC), state=fitted.state)
    uri = f"s3://models/flights/{digest}"
    objects.put_directory(folder, uri)
    model = ModelRef(version="1", digest=digest, uri=uri, dataset_version="flights/v1")
    entry = LedgerEntry(
        seq=1, task="flights", kind="promoted", model=model, champion=model, reason="", run_id="", at=datetime.now(UTC)
    )
    return FakeLedger([entry])


def ours(source: Path, folder: Path, objects: FakeObjectStore, ledger: FakeLedger) -> float:
    ports = BatchPorts(BatchSources(objects, FakeDatasetStore), objects, ledger, None, False, RequestImages())
    began = time.perf_counter()
    summary = predict_batch(SPEC, Ask(str(source), "jsonl"), LocalPlace(folder), ports)
    taken_s = time.perf_counter() - began
    assert summary.num_errors == 0, summary
    return summary.num_rows / taken_s


def plain(source: Path, target: Path, model_folder: Path) -> float:
    """What a person writes in ten lines: all in memory, no row is checked, a kill loses everything."""
    began = time.perf_counter()
    model = load_model(model_folder)
    frame = pd.read_parquet(source)
    inputs = pa.Table.from_pandas(frame.drop(columns=["id"]), preserve_index=False)
    with torch.inference_mode():
        encoded = model.task.encode(inputs, model.state)
        scores = torch.softmax(model.network(encoded).double(), dim=1).numpy()
    answers = pd.DataFrame({"id": frame["id"], "answer": np.array(SPEC.classes)[scores.argmax(axis=1)]})
    answers["scores"] = [dict(zip(SPEC.classes, row, strict=True)) for row in scores.tolist()]
    answers.to_json(target, orient="records", lines=True)
    return len(frame) / (time.perf_counter() - began)


def served(rows: pa.Table, model_folder: Path) -> float:
    """The loop over HTTP, 64 rows a request as `ratchet predict` sends them, on one connection."""
    inputs = rows.drop_columns(["id"]).slice(0, _SERVED_ROWS).to_pylist()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = ["--model_name", "flights", "--model_dir", str(model_folder), "--http_port", port]
    with (model_folder.parent / "server.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "ratchet.serving", *options], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait_ready(client)
            began = time.perf_counter()
            for start in range(0, len(inputs), 64):
                body = {"instances": inputs[start : start + 64]}
                client.post("/v1/models/flights:predict", json=body).raise_for_status()
            return len(inputs) / (time.perf_counter() - began)
    finally:
        process.kill()
        process.wait(timeout=10)


def _wait_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + _READY_S_MAX
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if client.get("/v2/models/flights/ready").status_code == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(f"the model server was not ready within {_READY_S_MAX:.0f} s")


def results(num: int) -> list[dict[str, Any]]:
    rows = table_of_rows(num)
    with tempfile.TemporaryDirectory() as scratch:
        folder, objects = Path(scratch), FakeObjectStore()
        ledger = save_champion(folder / "model", rows, objects)
        pq.write_table(rows, folder / "rows.parquet")
        write_lines(rows, folder / "rows.jsonl")
        peer = plain(folder / "rows.parquet", folder / "peer.jsonl", folder / "model")
        http = served(rows, folder / "model")
        parquet = ours(folder / "rows.parquet", folder / "a", objects, ledger)
        lines = ours(folder / "rows.jsonl", folder / "b", objects, ledger)
    return [
        _row(f"Parquet to JSON lines, {num:,} rows, beside pandas and torch", parquet, peer),
        _row(f"JSON lines to JSON lines, {num:,} rows, beside requests to the model server", lines, http),
    ]


def write_lines(rows: pa.Table, path: Path) -> None:
    names = [*_NUMBERS, *_CATEGORIES]
    with path.open("w") as file:
        for row in rows.to_pylist():
            file.write(json.dumps({"id": row["id"], "inputs": {name: row[name] for name in names}}) + "\n")


def _row(name: str, value: float, peer: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value),
        "unit": "rows/s",
        "peer": round(peer),
        "ratio": round(value / peer, 2),
        "goal": GOAL_ROWS_S,
        "ok": value >= GOAL_ROWS_S,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--quick", action="store_true", help="100,000 rows instead of 1,000,000")
    rows = results(100_000 if parser.parse_args(argv).quick else 1_000_000)
    for row in rows:
        print(f"{row['name']:<80} {row['value']:>8,} {row['unit']}  peer {row['peer']:>8,}  goal {row['goal']:,}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

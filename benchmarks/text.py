"""What a pretrained encoder is worth where labels are few: `python -m benchmarks.text [--quick | --small]`.

Sentences of reviews, tweets and newspapers that twenty people each rated from -4 to 4 (Hutto and Gilbert, 2014), as
negative, neutral or positive. `kind: text` learns n of them with each encoder, by the training loop itself, and is
measured on held-out sentences: accuracy and macro F1, mean over seeds, and the seconds of the training.
"""

import argparse
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from demo.rounds.packages import fetch_package
from demo.rounds.sentiment import CLASSES, PACKAGE, feeling_of, read_files
from ratchet.core.models.gate import outputs_of
from ratchet.core.models.metrics import measure
from ratchet.tasks.model_files import load_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train
from ratchet.training.split_rows import labels_of

MODELS: dict[str, dict[str, Any]] = {
    "hashed": {"kind": "text"},
    "minilm, head": {"kind": "text", "encoder": "minilm"},
    "minilm, top-2": {"kind": "text", "encoder": "minilm", "train": "top-2"},
    "minilm, lora": {"kind": "text", "encoder": "minilm", "train": "lora"},
    "minilm, full": {"kind": "text", "encoder": "minilm", "train": "full"},
}


class Sentence(NamedTuple):
    text: str
    label: str


class Score(NamedTuple):
    model: str
    num_labels: int
    accuracy: float
    macro_f1: float
    train_s: float


def sentences() -> list[Sentence]:
    """All of them, in an order of their own that is the same each time."""
    found = [Sentence(text, feeling_of(rating)) for rating, text in _read()]
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]


def _read() -> Iterator[tuple[float, str]]:
    with tarfile.open(fetch_package(PACKAGE)) as archive:
        files = read_files(archive)
    for name, table in files.items():
        if name.endswith("_GroundTruth.txt"):
            for line in table.splitlines():
                _, rating, text = line.split("\t", 2)
                yield float(rating), text


def score_of(model: str, learned: list[Sentence], held_out: list[Sentence], *, seed: int) -> Score:
    """Train in this process and measure; a fifth of what is learned chooses the epoch."""
    spec = TaskSpec.model_validate(
        {
            "name": "sentiment",
            "inputs": [{"name": "text", "type": "text"}],
            "output": {"type": "category", "classes": CLASSES},
            "model": MODELS[model],
            "training": {"world_size": 1, "seed": seed},
        }
    )
    with tempfile.TemporaryDirectory() as name:
        folder, cut = Path(name), len(learned) // 5
        job = TrainingJob(
            spec=spec,
            train_path=_written(folder / "train.parquet", learned[cut:], spec),
            val_path=_written(folder / "val.parquet", learned[:cut], spec),
            base_model_path=None,
            checkpoint_dir=folder / "checkpoints",
            model_path=folder / "model",
            start_path=folder / "start.json",
            history_path=folder / "history.jsonl",
            failure_path=folder / "failure.json",
        )
        started = time.perf_counter()
        train(job, rank=0, world_size=1)
        train_s = time.perf_counter() - started
        answers = load_model(job.model_path).answer(pa.table({"text": [each.text for each in held_out]}))
    labels = labels_of(pa.chunked_array([[each.label for each in held_out]]), spec)
    accuracy, macro_f1 = (measure(metric, labels, outputs_of(answers)) for metric in ("accuracy", "macro_f1"))
    return Score(model, len(learned), accuracy, macro_f1, train_s)


def _written(path: Path, rows: list[Sentence], spec: TaskSpec) -> Path:
    schema = pa.schema([("inputs", spec.examples.inputs_type), ("label", spec.examples.label_type)])
    table = [{"inputs": {"text": each.text}, "label": each.label} for each in rows]
    pq.write_table(pa.Table.from_pylist(table, schema=schema), path)
    return path


def mean_of(scores: list[Score]) -> Score:
    first = scores[0]
    accuracy, macro_f1, train_s = (float(np.mean([score[place] for score in scores])) for place in (2, 3, 4))
    return Score(first.model, first.num_labels, accuracy, macro_f1, train_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="300 labels, one seed, hashed and head only")
    parser.add_argument("--small", action="store_true", help="300 labels, one seed, every model")
    asked = parser.parse_args()
    quick, is_small = asked.quick, asked.quick or asked.small
    data, num_held_out = sentences(), 500 if is_small else 2_000
    held_out, pool = data[:num_held_out], data[num_held_out:]
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        torch.use_deterministic_algorithms(True)
        for num_labels in (300,) if is_small else (100, 300, 1_000, 3_000):
            for model in list(MODELS)[: 2 if quick else None]:
                seeds = range(1 if is_small else 3)
                starts = [seed * num_labels for seed in seeds]
                scores = [
                    score_of(model, pool[start : start + num_labels], held_out, seed=seed)
                    for seed, start in zip(seeds, starts, strict=True)
                ]
                print(json.dumps(mean_of(scores)._asdict()), flush=True)
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

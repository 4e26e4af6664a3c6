"""`python -m tests.components.finetune_once FOLDER`: an attempt of the step `finetune`, as a pod makes it.

It learns the digits. What it finishes is kept in the object store of the settings; the model lands in FOLDER/model."""

import logging
import sys
from pathlib import Path

from components.finetune.step import finetune_step
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.torchrun import TorchrunTrainer
from ratchet.core.ports import ObjectStore
from ratchet.settings import settings_from_env
from ratchet.stores.finished import FinishedWork
from ratchet.training.learners import TorchLearner
from tests.components.rollout_world import TASK
from tests.components.test_challenger import commit_digits
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.models import DIGITS, changed

SPEC = changed(
    DIGITS,
    {
        "implementation": "tests.training_tasks:Odd",
        "training": DIGITS.training.model_copy(
            update={
                "num_epochs": 32,
                "freeze": ("head.*",),
                "unfreeze_after": 2,
                "ema_decay": 0.9,
                "schedule": "cosine",
            }
        ),
    },
)


def finetune(folder: Path, objects: ObjectStore, bucket: str) -> str:
    """The model's digest."""
    datasets = FakeDatasetStore()
    digest, _ = finetune_step(
        SPEC,
        commit_digits(datasets),
        datasets=datasets,
        objects=objects,
        ledger=FakeLedger(),
        learner=TorchLearner(TorchrunTrainer()),
        model_path=folder / "model",
        log_path=folder / "log.txt",
        finished=FinishedWork(objects, bucket).of_run(TASK, "run-1"),
    )
    return digest


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    settings = settings_from_env()
    finetune(Path(sys.argv[1]), S3ObjectStore.of(settings), settings.ratchet_bucket)

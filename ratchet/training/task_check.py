"""`python -m ratchet.training.task_check SPECS RESULTS`: does each task's code train? One batch forward and back.

The code is the user's: it may raise, call `sys.exit`, end the process or hang. So this is a process of its own, and
what it is about to try is in the results before it tries it; `ratchet.adapters.task_checks` starts it and reads them.

Shape suffixes: B rows of the batch, F raw features, K classes.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter

from ratchet.core.errors import DataRejected
from ratchet.core.models.task_checks import CheckResult
from ratchet.processes import die_with_parent
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.interface import Task
from ratchet.tasks.loading import load_task_from
from ratchet.tasks.model_files import ServableModel, load_model, save_model
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.user_errors import sentence_of
from ratchet.training.checks import check_answers, check_inputs, check_logits, check_loss, check_metrics, check_network
from ratchet.training.trial import without_gradient

_NUM_ROWS_MIN, _NUM_ROWS_MAX = 4, 64
_DIFFERENCE_MAX = 1e-6


@dataclass
class Trial:
    """What the checks of one task hand on to the next."""

    spec: TaskSpec
    features_BF: np.ndarray
    labels_B: torch.Tensor
    code: TaskCode | None = None
    task: Task | None = None
    network: torch.nn.Module | None = None
    inputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    logits_BK: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    loss: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    warning: str = ""
    """Of the check under way."""

    @property
    def made(self) -> tuple[Task, torch.nn.Module]:
        assert self.task is not None and self.network is not None, "the checks before it passed"
        return self.task, self.network


def trial_of(spec: TaskSpec) -> Trial:
    """Made-up rows inside the declared range, the same each time; every class that has room is there."""
    num_rows = min(max(spec.training.batch_size, _NUM_ROWS_MIN), _NUM_ROWS_MAX)
    low, high = spec.features.min_value, spec.features.max_value
    features_BF = np.random.default_rng(0).uniform(low, high, size=(num_rows, spec.features.num_features))
    return Trial(spec, features_BF, torch.arange(num_rows) % len(spec.classes))


def load(trial: Trial) -> str:
    trial.code = collect_task_code(trial.spec)
    trial.task = load_task_from(trial.spec, trial.code)
    return trial.spec.implementation


def preprocess(trial: Trial) -> str:
    assert trial.task is not None, "it was loaded"
    num_rows = len(trial.features_BF)
    trial.inputs = check_inputs(trial.task.preprocess(trial.features_BF), num_rows=num_rows, spec=trial.spec)
    return f"{num_rows} made-up rows give a tensor of shape {list(trial.inputs.shape)}"


def build(trial: Trial) -> str:
    assert trial.task is not None, "it was loaded"
    torch.manual_seed(trial.spec.training.seed)
    trial.network = check_network(trial.task.build_model(), spec=trial.spec)
    return f"{sum(value.numel() for value in trial.network.parameters()):,} parameters"


def forward(trial: Trial) -> str:
    _, network = trial.made
    network.train()
    trial.logits_BK = check_logits(network(trial.inputs), num_rows=len(trial.labels_B), spec=trial.spec)
    return f"logits of shape {list(trial.logits_BK.shape)}"


def loss(trial: Trial) -> str:
    task, _ = trial.made
    trial.loss = check_loss(task.loss(trial.logits_BK, trial.labels_B), spec=trial.spec)
    value = float(trial.loss.detach())
    if not np.isfinite(value):
        raise DataRejected(
            f"{trial.spec.implementation}.loss gives {value} on made-up rows; it must be a finite number"
        )
    return f"{value:.4g}"


def backward(trial: Trial) -> str:
    _, network = trial.made
    trial.loss.backward()
    if unused := without_gradient(network):
        shown = ", ".join(unused[:5]) + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
        trial.warning = f"the loss does not use {shown}: nothing trains them"
    return "gradients of every parameter that the loss uses"


def measure(trial: Trial) -> str:
    task, network = trial.made
    network.eval()
    predicted_B = check_answers(network, trial.inputs, spec=trial.spec).argmax(dim=1).numpy()
    names = check_metrics(task.metrics(predicted_B, trial.labels_B.numpy()), spec=trial.spec)
    return f"metrics: {', '.join(sorted(names))}"


def save_and_load(trial: Trial) -> str:
    task, network = trial.made
    before = ServableModel(trial.spec, task, network, "").predict_proba(trial.features_BF)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model", spec=trial.spec, network=network, code=trial.code)
        after = load_model(Path(folder) / "model").predict_proba(trial.features_BF)
    difference = float(np.abs(before - after).max())
    if difference > _DIFFERENCE_MAX:
        raise DataRejected(f"the loaded model answers differently by up to {difference:.2g}: some of it is not saved")
    return "the loaded model gives the same answers"


CHECKS: tuple[tuple[str, Callable[[Trial], str]], ...] = (
    ("load", load),
    ("preprocess", preprocess),
    ("build_model", build),
    ("forward", forward),
    ("loss", loss),
    ("backward", backward),
    ("metrics", measure),
    ("save and load", save_and_load),
)


def check_task(spec: TaskSpec, tell: Callable[[CheckResult], None]) -> None:
    """Run the checks in order, to the first that fails. Each is told twice: when it begins, and how it went."""
    trial = trial_of(spec)
    for name, check in CHECKS:
        tell(CheckResult(task=spec.name, check=name, state="begun"))
        trial.warning = ""
        try:
            text = check(trial)
        except (Exception, SystemExit) as error:
            tell(CheckResult(task=spec.name, check=name, state="failed", text=sentence_of(error)))
            return
        tell(CheckResult(task=spec.name, check=name, state="passed", text=text, warning=trial.warning))


def main() -> None:
    die_with_parent()
    specs_path, results_path = (Path(word) for word in sys.argv[1:])
    torch.set_num_threads(1)
    with results_path.open("a") as results:

        def tell(result: CheckResult) -> None:
            results.write(result.model_dump_json() + "\n")
            results.flush()

        for spec in TypeAdapter(list[TaskSpec]).validate_json(specs_path.read_bytes()):
            check_task(spec, tell)


if __name__ == "__main__":
    main()

"""`python -m ratchet.training.task_check SPECS RESULTS`: does each task's code train? One batch forward and back.

The code is the user's: it may raise, call `sys.exit`, end the process or hang. So this is a process of its own, and
what it is about to try is in the results before it tries it; `ratchet.adapters.task_checks` starts it and reads them.

Shape suffixes: B rows of the batch, K classes.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pydantic import TypeAdapter

from ratchet.core.errors import DataRejected
from ratchet.core.models.search import cost_text
from ratchet.core.models.task_checks import CheckResult
from ratchet.processes import die_with_parent
from ratchet.tasks.bound import TorchTask, TreesTask, fit_state, state_bytes
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.loading import load_task_from
from ratchet.tasks.model_files import ServableModel, load_model, save_model, save_trees
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.user_errors import sentence_of
from ratchet.training.checks import check_answers, check_inputs, check_logits, check_loss, check_metrics, check_network
from ratchet.training.made_up import made_up_rows
from ratchet.training.split_rows import labelled, labels_of
from ratchet.training.trees import LabelledRows, grow
from ratchet.training.trial import without_gradient
from ratchet.training.weighting import check_loss_takes_weighting, weigh

_NUM_ROWS_MIN, _NUM_ROWS_MAX = 4, 64
_DIFFERENCE_MAX = 1e-6
_NUM_TREES = 3


@dataclass
class Trial:
    """What the checks of one task hand on to the next."""

    spec: TaskSpec
    inputs: pa.Table
    labels: pa.ChunkedArray
    code: TaskCode | None = None
    task: TorchTask | None = None
    trees: TreesTask | None = None
    network: torch.nn.Module | None = None
    encoded: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    outputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    loss: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    warning: str = ""
    """Of the check under way."""

    @property
    def loaded(self) -> TorchTask:
        assert self.task is not None, "it was loaded"
        return self.task

    @property
    def made(self) -> tuple[TorchTask, torch.nn.Module]:
        assert self.network is not None, "the checks before it passed"
        return self.loaded, self.network

    @property
    def targets(self) -> torch.Tensor:
        """The labels as a loss takes them."""
        return torch.from_numpy(labels_of(self.labels, self.spec))

    @property
    def rows(self) -> pa.Table:
        """As `fit` takes them."""
        return labelled(self.inputs, self.labels, self.spec)


def trial_of(spec: TaskSpec) -> Trial:
    """Made-up rows inside the declared ranges, the same each time; every class that has room is there."""
    num_rows = min(max(spec.training.batch_size, _NUM_ROWS_MIN), _NUM_ROWS_MAX)
    return Trial(spec, *made_up_rows(spec.examples, num_rows))


def load(trial: Trial) -> str:
    trial.code = collect_task_code(trial.spec)
    implementation = load_task_from(trial.spec, trial.code)
    check_loss_takes_weighting(implementation, trial.spec)
    trial.task = weigh(TorchTask(trial.spec, implementation), trial.targets)
    return trial.spec.implementation


def fit(trial: Trial) -> str:
    trial.task = trial.loaded.fitted(trial.rows)
    if trial.task.state is None:
        return "nothing is learned of the rows before the training"
    return f"a state of {len(state_bytes(trial.task.state, spec=trial.spec)):,} bytes"


def encode(trial: Trial) -> str:
    num_rows = trial.inputs.num_rows
    encoded = trial.loaded.encode(trial.inputs)
    trial.encoded = check_inputs(encoded, num_rows=num_rows, where=trial.loaded.encode_name)
    return f"{num_rows} made-up rows give a tensor of shape {list(trial.encoded.shape)}"


def build(trial: Trial) -> str:
    torch.manual_seed(trial.spec.training.seed)
    trial.network = check_network(trial.loaded.build_model(), spec=trial.spec)
    trial.loaded.load_pretrained(trial.network)
    trial.loaded.begin_training(trial.network)
    sizes = [(value.numel(), value.requires_grad) for value in trial.network.parameters()]
    trained = sum(num for num, is_trained in sizes if is_trained)
    return f"{sum(num for num, _ in sizes):,} parameters, {trained:,} of them trained"


def forward(trial: Trial) -> str:
    _, network = trial.made
    network.train()
    trial.outputs = check_logits(network(trial.encoded), num_rows=trial.inputs.num_rows, spec=trial.spec)
    what = "numbers" if trial.spec.output.type == "number" else "logits"
    return f"{what} of shape {list(trial.outputs.shape)}"


def loss(trial: Trial) -> str:
    task, _ = trial.made
    trial.loss = check_loss(task.loss(trial.outputs, trial.targets), spec=trial.spec)
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
    answers = check_answers(network, trial.encoded, task=task)
    assert answers.scores_BK is not None, "classes of before have an output of categories"
    names = check_metrics(
        task.implementation.metrics(answers.scores_BK.argmax(axis=1), trial.targets.numpy()), spec=trial.spec
    )
    return f"metrics: {', '.join(sorted(names))}"


def decode(trial: Trial) -> str:
    task, network = trial.made
    network.eval()
    answers = check_answers(network, trial.encoded, task=task)
    return f"an answer is {answers.texts[0][:60]!r}"


def save_and_load(trial: Trial) -> str:
    task, network = trial.made
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        beside = task.end_training(network)
        save_model(path, spec=trial.spec, network=network, code=trial.code, state=task.state, beside=beside)
        _compare(ServableModel(trial.spec, task.implementation, network, "", task.state), path, trial.inputs)
    return "the loaded model gives the same answers"


def load_trees(trial: Trial) -> str:
    trial.code = collect_task_code(trial.spec)
    trial.trees = TreesTask(trial.spec, load_task_from(trial.spec, trial.code), {})
    return trial.spec.implementation


def train_trees(trial: Trial) -> str:
    assert trial.trees is not None, "it was loaded"
    kind = trial.trees.implementation
    state = fit_state(kind, trial.spec, trial.rows)
    assert state is not None, "this kind has a state"
    grown = grow(kind, state, LabelledRows(trial.inputs, trial.targets.numpy()), None, num_trees=_NUM_TREES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        assert trial.code is not None, "it was loaded"
        save_trees(path, spec=trial.spec, text=kind.text_of(grown.boosters), code=trial.code, state=state)
        _compare(ServableModel(trial.spec, kind, grown.boosters, "", state), path, trial.inputs)
    return f"{_NUM_TREES} trees, and the loaded model gives the same answers"


def _compare(made: ServableModel, path: Path, inputs: pa.Table) -> None:
    """DataRejected when what was saved answers otherwise than what was made."""
    before, after = made.answer(inputs), load_model(path).answer(inputs)
    one, other = (each.labels if each.scores_BK is None else each.scores_BK for each in (before, after))
    difference = float(np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).max())
    if difference > _DIFFERENCE_MAX:
        raise DataRejected(f"the loaded model answers differently by up to {difference:.2g}: some of it is not saved")


Checks = tuple[tuple[str, Callable[[Trial], str]], ...]
_NETWORK: Checks = (
    ("build_model", build),
    ("forward", forward),
    ("loss", loss),
    ("backward", backward),
)
_OLD: Checks = (("preprocess", encode), *_NETWORK, ("metrics", measure), ("save and load", save_and_load))
_NEW: Checks = (("fit", fit), ("encode", encode), *_NETWORK, ("decode", decode), ("save and load", save_and_load))
_TREES: Checks = (("train", train_trees),)


def tell_cost(trial: Trial) -> str:
    """Each end and each choice was checked when the file was read."""
    training = trial.spec.training
    assert training.search is not None, "the check is for tasks with a search"
    return cost_text(training.search, num_epochs=training.num_epochs, timeout_s=training.timeout_s)


def checks_of(trial: Trial) -> Iterator[tuple[str, Callable[[Trial], str]]]:
    """In their order; which ones follow the first depends on what it loads."""
    if trial.spec.model.learner == "trees":
        yield "load", load_trees
        yield from _TREES
        return
    yield "load", load
    yield from _OLD if trial.loaded.is_old else _NEW
    if trial.spec.training.search is not None:
        yield "search", tell_cost


def check_task(spec: TaskSpec, tell: Callable[[CheckResult], None]) -> None:
    """Run the checks in order, to the first that fails. Each is told twice: when it begins, and how it went."""
    trial = trial_of(spec)
    for name, check in checks_of(trial):
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

"""A model as a directory: weights, the task it was made for, the code that decides its answers. No pickle anywhere.

    model.safetensors   the weights of a network, or
    model.txt           the trees, in LightGBM's text form
    task.json           the task's spec at training time: inputs, output, kind of model
    state.json          what the model's class learned of the training rows (scales, vocabularies), where it learns any
    calibration.json    the temperature of its probabilities, where the task file asks for one
    MLmodel             MLflow's description: a pyfunc loaded by `ratchet.serving.pyfunc`, so from code
    code/               the source of the implementation and of the user's modules that it imports (code_collect.py)
    library.json        instead of code/, where the implementation lies in an installed library: its name and version
    digests.json        the digest of each file above: tells which one differs
    lineage.json        what it was trained from (components/finetune)
    environment.json    what it was trained on: versions, CPU, workers, threads, seed
    choice.json         why it was trained by so many workers and threads, where `training: auto` chose
    requirements.txt    the installed distributions that it was trained with
    verdict.json        added by register: why the gate let it pass
    MODEL_CARD.md       added by register: the same for people
    beside/             what the model's class gave at the end of the training, such as a low-rank adapter

The identity of a model is the digest of all above digests.json (identity.py). The others describe it.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ratchet.core.errors import DataRejected, PolicyError
from ratchet.core.labels.answers import Answers, answers_of
from ratchet.core.models.temperature import Temperature, temperature_in, with_temperature
from ratchet.tasks.bound import BoundModel, State, TorchTask, TreesTask, outputs_in_parts, state_bytes
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.code_files import write_code
from ratchet.tasks.identity import (
    CALIBRATION,
    CODE,
    FILE_DIGESTS,
    LIBRARY,
    MLMODEL,
    STATE,
    TASK,
    TREES,
    WEIGHTS,
    ModelFolder,
    read_model,
    write_file_digests,
)
from ratchet.tasks.inputs import table_of_features
from ratchet.tasks.loading import differences, load_installed_task, load_task_from
from ratchet.tasks.origins import distributions_of
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.user_errors import sentence_of

log = logging.getLogger(__name__)
REQUIREMENTS = "requirements.txt"
BESIDE = "beside"
_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_MLMODEL_TEXT = """\
flavors:
  python_function:
    loader_module: ratchet.serving.pyfunc
    python_version: '3.11'
"""


@dataclass(frozen=True)
class ServableModel:
    """A loaded model, ready to answer. Shape suffixes: B batch, F raw features, K classes."""

    spec: TaskSpec
    task: Any
    """An instance of the model's class, of any form."""
    network: Any
    """What it loaded: a network in evaluation mode, or trees."""
    digest: str
    state: State | None = None
    """What the class learned of the training rows."""
    temperature: float = 1.0
    """Of its probabilities; 1: they are the network's own."""

    def answer(self, inputs: pa.Table) -> Answers:
        """Its answers to examples: a column for each input, by name (`inputs_table`). ValueError names what is wrong
        with a row."""
        return answers_of(self._tempered(outputs_in_parts(self._bound, self.network, inputs)), self.spec.output)

    def represent(self, inputs: pa.Table) -> np.ndarray | None:
        """(B, D) float32: the examples as the last layer takes them; None of a model that has no such layer. Of few
        rows: all are in memory at once."""
        return self._bound.representation(self.network, inputs)

    def predict_proba(self, features_BF: np.ndarray) -> np.ndarray:
        """Class probabilities, (B, K) float64, of the raw features (B, F) of a single vector."""
        return self._tempered(self._bound.outputs(self.network, table_of_features(np.asarray(features_BF), self.spec)))

    def own_metrics(self, predicted_B: np.ndarray, labels_B: np.ndarray) -> Mapping[str, float] | None:
        """What a class of before measures of class indices; None of any other."""
        measure = getattr(self.task, "metrics", None)
        return measure(predicted_B, labels_B) if measure is not None else None

    def unseen(self, inputs: pa.Table) -> dict[str, int]:
        """Rows with a category that the training rows did not have, by input; {} of a class that does not count."""
        count = getattr(self.task, "unseen", None)
        return dict(count(inputs, self.state or {})) if count is not None else {}

    def _tempered(self, outputs: np.ndarray) -> np.ndarray:
        return with_temperature(outputs, self.temperature, is_tags=self.spec.output.type == "tags")

    @cached_property
    def _bound(self) -> BoundModel:
        return bind(self.task, self.spec, self.state)


def bind(implementation: Any, spec: TaskSpec, state: State | None) -> TorchTask | TreesTask:
    """A model's class with its state, by the kind of learner that it is for."""
    if spec.model.learner == "trees":
        return TreesTask(spec, implementation, state or {})
    return TorchTask(spec, implementation, state)


def save_model(
    path: Path,
    *,
    spec: TaskSpec,
    network: torch.nn.Module,
    code: TaskCode | None = None,
    state: State | None = None,
    beside: Mapping[str, bytes] = _NOTHING,
    temperature: Temperature | None = None,
) -> str:
    """Write a network's identity files into a folder, made when absent; gives the model's digest.

    code: what the model was trained with (`collect_task_code`, before the training); the user's code as it is now when
    it is left out. state: what its class learned of the training rows. beside: files that decide none of its answers,
    by name. temperature: of its probabilities. DataRejected for a name that is no file's.
    """
    code = code or collect_task_code(spec)
    _begin(path)
    for name, content in beside.items():
        if not name or Path(name).name != name:
            raise DataRejected(f"{spec.implementation}.end_training gave a file named {name!r}; a name has no folder")
        (path / BESIDE).mkdir(exist_ok=True)
        (path / BESIDE / name).write_bytes(content)
    # A copy of each: safetensors refuses tensors that share memory, as layers with tied weights do.
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(weights, path / WEIGHTS)
    return _end(path, spec, code, state, temperature)


def save_trees(
    path: Path, *, spec: TaskSpec, text: str, code: TaskCode, state: State, temperature: Temperature | None = None
) -> str:
    """As `save_model`, of trees in LightGBM's text form."""
    _begin(path)
    (path / TREES).write_text(text)
    return _end(path, spec, code, state, temperature)


def _begin(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for folder in (CODE, BESIDE):
        shutil.rmtree(path / folder, ignore_errors=True)
    for name in (LIBRARY, FILE_DIGESTS, STATE, CALIBRATION, WEIGHTS, TREES):
        (path / name).unlink(missing_ok=True)


def _end(path: Path, spec: TaskSpec, code: TaskCode, state: State | None, temperature: Temperature | None) -> str:
    if state is not None:
        (path / STATE).write_bytes(state_bytes(state, spec=spec) + b"\n")
    if temperature is not None:
        (path / CALIBRATION).write_text(temperature.model_dump_json() + "\n")
    (path / TASK).write_text(json.dumps(spec.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    (path / MLMODEL).write_text(_MLMODEL_TEXT)
    write_code(path / CODE, code.files)
    if code.library:
        (path / LIBRARY).write_text(json.dumps(dict(code.library), indent=2, sort_keys=True) + "\n")
    lines = [f"{name}=={version}\n" for name, version in sorted(code.requirements.items())]
    (path / REQUIREMENTS).write_text("".join(lines))
    return write_file_digests(path)


def load_model(path: Path, *, expected_digest: str = "") -> ServableModel:
    """A model from its folder, in evaluation mode, with the code that it carries.

    expected_digest: of the ledger, the registry or the URI; compared before anything of the model runs (`read_model`).
    DataRejected says which model, and which file is wrong, or where its code failed.
    """
    folder = read_model(path, expected_digest=expected_digest)
    spec = _spec_of(folder)
    try:
        task, state, temperature = _task_of(spec, folder), _state_of(folder), temperature_in(folder.calibration_json)
        loaded = _load_learned(bind(task, spec, state), folder)
    except (Exception, SystemExit) as error:
        raise _refusal(folder, error) from error
    return ServableModel(spec, task, loaded, folder.digest, state, temperature)


def _load_learned(bound: TorchTask | TreesTask, folder: ModelFolder) -> Any:
    if isinstance(bound, TreesTask):
        return bound.implementation.load_model((folder.path / TREES).read_text(), bound.state)
    network = bound.build_model()
    network.load_state_dict(_weights_of(folder))
    network.eval()
    return network


def load_weights(path: Path, *, expected_digest: str = "") -> dict[str, torch.Tensor]:
    """A model's weights by name, from a folder that was compared with its digest as by `load_model`. No code of the
    model runs. DataRejected when the file is damaged."""
    folder = read_model(path, expected_digest=expected_digest)
    try:
        return _weights_of(folder)
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise _refusal(folder, error) from error


def read_state(path: Path) -> State | None:
    """What the class of a model learned, from its folder; None of one without a state. No code of the model runs."""
    return _state_of(read_model(path))


def _state_of(folder: ModelFolder) -> State | None:
    return None if folder.state_json is None else dict(json.loads(folder.state_json))


def _weights_of(folder: ModelFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.path / WEIGHTS)


def _spec_of(folder: ModelFolder) -> TaskSpec:
    try:
        return TaskSpec.model_validate_json(folder.task_json)
    except ValueError as error:
        raise _refusal(folder, error) from None


def _task_of(spec: TaskSpec, folder: ModelFolder) -> Any:
    if folder.library:
        _check_library(folder.library)
    elif not folder.code:
        log.warning(
            "Model %s carries no code, as models did before: its answers follow the installed %s, so an edit of that "
            "module changes its answers or breaks it. Train it again: the new model carries its code.",
            folder.name,
            spec.implementation,
        )
    if not folder.code:
        return load_installed_task(spec)
    return load_task_from(spec, TaskCode(folder.code, {}))


def code_carried_by(folder: ModelFolder, spec: TaskSpec) -> TaskCode:
    """What trains the model in a folder once more: the code that it carries, bound to its digest; the installed
    implementation where it was trained with that, or was written before models carried code.

    spec: of the model. PolicyError when a library that holds the implementation has another version here.
    """
    if folder.library:
        _check_library(folder.library)
    if not folder.code:
        return collect_task_code(spec)
    return TaskCode(folder.code, distributions_of(_requirements_of(folder.path)))


def _check_library(library: Mapping[str, str]) -> None:
    if difference := differences({str(library.get("name")): str(library.get("version"))}):
        raise PolicyError(f"the library that holds its implementation differs: {difference}")


def _refusal(folder: ModelFolder, error: BaseException) -> DataRejected:
    """What failed, in whose code, and what else is different here."""
    cause = error.__cause__ if isinstance(error, PolicyError) and error.__cause__ else error
    fault = sentence_of(cause).rstrip(".")
    differs = differences(_requirements_of(folder.path))
    environment = f" Installed here: {differs}." if differs else ""
    return DataRejected(
        f"{folder.path}: model {folder.name} cannot be loaded: {fault}.{environment} "
        "It serves nothing until this is cured: install what it was trained with, or train and promote another model."
    )


def _requirements_of(path: Path) -> dict[str, str]:
    """What was written when the model was saved; it describes, and decides nothing."""
    try:
        lines = (path / REQUIREMENTS).read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}

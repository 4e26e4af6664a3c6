"""A model as a directory: safetensors, the task it was made for, the code that decides its answers. No pickle anywhere.

    model.safetensors   the weights
    task.json           the task's spec at training time: implementation, classes, features
    MLmodel             MLflow's description: a pyfunc loaded by `ratchet.serving.pyfunc`, so from code
    code/               the source of the implementation and of the user's modules that it imports (code_collect.py)
    library.json        instead of code/, where the implementation lies in an installed library: its name and version
    digests.json        the digest of each file above: tells which one differs
    requirements.txt    the installed distributions that it was trained with
    verdict.json        added by register: why the gate let it pass
    MODEL_CARD.md       added by register: the same for people

The identity of a model is the digest of the first five (identity.py). The others describe it.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ratchet.core.errors import DataRejected, PolicyError
from ratchet.core.labels.answers import Answers, answers_of
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.code_files import write_code
from ratchet.tasks.identity import (
    CODE,
    FILE_DIGESTS,
    LIBRARY,
    MLMODEL,
    TASK,
    WEIGHTS,
    ModelFolder,
    read_model,
    write_file_digests,
)
from ratchet.tasks.inputs import features_of
from ratchet.tasks.interface import Task
from ratchet.tasks.loading import differences, load_installed_task, load_task_from
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.user_errors import sentence_of

log = logging.getLogger(__name__)
REQUIREMENTS = "requirements.txt"
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
    task: Task
    network: torch.nn.Module
    digest: str

    def predict_proba(self, features_BF: np.ndarray) -> np.ndarray:
        """Class probabilities, (B, K) float64, of raw features (B, F); the task's preprocessing included."""
        with torch.inference_mode():
            logits_BK = self.network(self.task.preprocess(np.asarray(features_BF, dtype=np.float64)))
            return torch.softmax(logits_BK.double(), dim=1).numpy()

    def answer(self, inputs: pa.Table) -> Answers:
        """Its answers to examples: a column for each input, by name (`inputs_table`). ValueError names what is wrong
        with a row."""
        return answers_of(self.predict_proba(features_of(inputs, self.spec)), self.spec.output)


def save_model(path: Path, *, spec: TaskSpec, network: torch.nn.Module, code: TaskCode | None = None) -> str:
    """Write a model's identity files into a folder, made when absent; gives the model's digest.

    code: what the model was trained with (`collect_task_code`, before the training); the user's code as it is now when
    it is left out.
    """
    code = code or collect_task_code(spec)
    path.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path / CODE, ignore_errors=True)
    for name in (LIBRARY, FILE_DIGESTS):
        (path / name).unlink(missing_ok=True)
    # A copy of each: safetensors refuses tensors that share memory, as layers with tied weights do.
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(weights, path / WEIGHTS)
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
        task = _task_of(spec, folder)
        network = task.build_model()
        network.load_state_dict(_weights_of(folder))
    except (Exception, SystemExit) as error:
        raise _refusal(folder, error) from error
    network.eval()
    return ServableModel(spec, task, network, folder.digest)


def load_weights(path: Path, *, expected_digest: str = "") -> dict[str, torch.Tensor]:
    """A model's weights by name, from a folder that was compared with its digest as by `load_model`. No code of the
    model runs. DataRejected when the file is damaged."""
    folder = read_model(path, expected_digest=expected_digest)
    try:
        return _weights_of(folder)
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise _refusal(folder, error) from error


def _weights_of(folder: ModelFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.path / WEIGHTS)


def _spec_of(folder: ModelFolder) -> TaskSpec:
    try:
        return TaskSpec.model_validate_json(folder.task_json)
    except ValueError as error:
        raise _refusal(folder, error) from None


def _task_of(spec: TaskSpec, folder: ModelFolder) -> Task:
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

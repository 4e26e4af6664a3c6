"""From a task's file to its implementation: the user's code as it is now, or the code that a model carries."""

import importlib
from importlib import metadata
from types import ModuleType
from typing import Any

from ratchet.core.errors import PolicyError
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.code_modules import ModelModules
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.user_errors import sentence_of


def load_task(spec: TaskSpec) -> Any:
    """An instance of the class that `spec.implementation` names, from the user's code as it is now. PolicyError names
    the file, the line and the exception when it cannot be loaded."""
    return load_task_from(spec, collect_task_code(spec))


def load_task_from(spec: TaskSpec, code: TaskCode) -> Any:
    """The task from exactly this code; what is edited later changes nothing. Errors as of `load_task`."""
    module_name, _, class_name = spec.implementation.partition(":")
    try:
        task = getattr(_import(module_name, code), class_name)(spec)
    except (Exception, SystemExit) as error:
        fault = sentence_of(error).rstrip(".")
        raise PolicyError(f"Task {spec.name!r}: cannot load {spec.implementation}: {fault}. {_hint(error)}") from error
    return task


def load_installed_task(spec: TaskSpec) -> Any:
    """The task from whatever is installed or lies in the user's folder: for models that carry no code."""
    return load_task_from(spec, TaskCode({}, {}))


def differences(requirements: dict[str, str]) -> str:
    """How the distributions here differ from these: `torch 2.9.0 here, trained with 2.8.0`; "" when they do not."""
    texts = []
    for name, version in sorted(requirements.items()):
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            texts.append(f"{name} is not installed here, trained with {version}")
            continue
        if here != version:
            texts.append(f"{name} {here} here, trained with {version}")
    return "; ".join(texts)


def _import(module_name: str, code: TaskCode) -> ModuleType:
    if code.files:
        return ModelModules(code.files).import_module(module_name)
    return importlib.import_module(module_name)


def _hint(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return (
            "Install the module where this runs (on a cluster: in the images), or correct `implementation` in the "
            "task's file."
        )
    return "Correct the task's code, or `implementation` in the task's file."

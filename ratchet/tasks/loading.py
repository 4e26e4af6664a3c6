"""From a task's file to its implementation."""

import importlib

from ratchet.core.errors import PolicyError
from ratchet.tasks.interface import Task
from ratchet.tasks.spec import TaskSpec


def load_task(spec: TaskSpec) -> Task:
    """The task that `spec.implementation` names; PolicyError when it cannot be imported."""
    module_name, _, class_name = spec.implementation.partition(":")
    try:
        return getattr(importlib.import_module(module_name), class_name)(spec)
    except (ImportError, AttributeError) as error:
        raise PolicyError(
            f"Task {spec.name!r}: cannot load {spec.implementation}: {error}. Install the module where this runs "
            "(on a cluster: in the images), or correct `implementation` in the task's file."
        ) from None

"""The task files and the policies of each task."""

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from ratchet.config_files import load_model, load_yaml
from ratchet.core.digest import digest_of
from ratchet.core.errors import PolicyError
from ratchet.packaged import packaged_configs
from ratchet.wiring import connections

if TYPE_CHECKING:
    from pathlib import Path

    from ratchet.adapters.task_checks import ProcessTaskChecks
    from ratchet.core.models.resources import ResourcePolicy, StepResources
    from ratchet.core.retention import RetentionPolicy
    from ratchet.tasks.spec import TaskSpec


Model = TypeVar("Model", bound=BaseModel)
_POLICY_NAMES = ("trigger", "quality", "drift", "evaluation", "rollout")


def task_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (connections.settings().configs_dir / "tasks").glob("*.yaml")))


def check_task(task: str) -> None:
    """PolicyError, with the tasks that there are, when none has that name."""
    if task not in task_names():
        folder, known = connections.settings().configs_dir / "tasks", ", ".join(task_names()) or "none"
        raise PolicyError(f"There is no task {task!r} in {folder}; known: {known}.")


@lru_cache
def task_spec(task: str) -> "TaskSpec":
    """The task of that name; PolicyError when there is none, or its file is wrong."""
    from ratchet.tasks.spec import TaskSpec  # and pyarrow and numpy with it, which not every command needs

    check_task(task)
    path = connections.settings().configs_dir / "tasks" / f"{task}.yaml"
    spec = load_model(path, TaskSpec)
    if spec.name != task:
        raise PolicyError(f"{path}: name is {spec.name!r}; it must be the file's name, {task!r}.")
    return spec


def policy(task: str, name: str, kind: type[Model]) -> Model:
    """A task's policy, for example `policy("digits", "rollout", RolloutPolicy)`."""
    return load_model(_policy_path(task_spec(task), name), kind)


def resource_policy(task: str) -> "ResourcePolicy":
    """What a training of the task asks of the cluster. In no run key: it decides nothing of the model."""
    from ratchet.core.models.resources import ResourcePolicy

    return policy(task, "resources", ResourcePolicy)


def step_resources(task: str) -> "StepResources":
    """What the step that trains asks for."""
    from ratchet.core.models.resources import step_resources_of

    return step_resources_of(resource_policy(task), num_nodes=task_spec(task).training.num_nodes)


def policy_digest(task: str) -> str:
    """The digest of the task and of all its policies: part of every run key."""
    spec = task_spec(task)
    policies = {name: load_yaml(_policy_path(spec, name)) for name in _POLICY_NAMES}
    return digest_of({"task": spec.model_dump(mode="json"), "policies": policies})


def code_digest(task: str) -> str:
    """The digest of the code that implements a task; "" where it is not installed. Nothing of it runs."""
    from ratchet.tasks.code_collect import collect_code

    try:
        return collect_code(task_spec(task).implementation).digest
    except PolicyError:
        return ""


def cases_path(task: str) -> "Path":
    """Where the pinned cases of a task are, if it has any: beside its file."""
    check_task(task)
    return connections.settings().configs_dir / "tasks" / f"{task}.golden.jsonl"


def task_checks() -> "ProcessTaskChecks":
    from ratchet.adapters.task_checks import ProcessTaskChecks

    return ProcessTaskChecks()


def default_retention() -> "RetentionPolicy":
    """The policy of tasks that name none."""
    from ratchet.core.retention import RetentionPolicy

    return load_model(_usual_policy_path("retention"), RetentionPolicy)


def _policy_path(spec: "TaskSpec", name: str) -> "Path":
    named = spec.policies.get(name)
    return connections.settings().configs_dir / "policies" / named if named else _usual_policy_path(name)


def _usual_policy_path(name: str) -> "Path":
    """The file in the configs' folder, else the one that Ratchet comes with."""
    path = connections.settings().configs_dir / "policies" / f"{name}.yaml"
    return path if path.is_file() else packaged_configs() / "policies" / path.name

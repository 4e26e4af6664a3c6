"""Names that people type: checked where they are read, completed by the shell while they are typed.

A completion asks servers over plain HTTP for a moment only, and is empty when they are down, slow or unknown.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

ANSWER_WITHIN_S = 0.6
"""Of a shell's patience with the Tab key; starting this program takes as long again."""
_NUM_RUNS = 50
_NUM_NAMED = 10
_NUM_NEWEST_SHARDS = 16

Names = Callable[[], Iterable[str]]


def check_task(value: str | None) -> str | None:
    """For typer: PolicyError, with the existing tasks, unless the option was left out."""
    from ratchet import wiring

    if value:
        wiring.check_task(value)
    return value


def known_text(names: Sequence[str]) -> str:
    """`known: a, b, c` for an error; of many the first."""
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return f"known: {', '.join(names[:_NUM_NAMED]) or 'none'}{more}"


def complete_task(incomplete: str) -> list[str]:
    return _completed(task_names, incomplete)


def complete_run(incomplete: str) -> list[str]:
    """Names of the newest runs, and ids once the beginning of one is typed."""
    return _completed(_run_names, incomplete)


def complete_model(incomplete: str) -> list[str]:
    """TASK/VERSION and TASK@ALIAS."""
    return _completed(_model_names, incomplete)


def complete_schedule(incomplete: str) -> list[str]:
    return _completed(lambda: _fields_of("recurringruns", "recurringRuns", "display_name"), incomplete)


def complete_pipeline(incomplete: str) -> list[str]:
    return _completed(lambda: _fields_of("pipelines", "pipelines", "display_name"), incomplete)


def complete_labeler(incomplete: str) -> list[str]:
    """Labelers of the newest label shards."""
    return _completed(_labeler_names, incomplete)


def _completed(list_names: Names, incomplete: str) -> list[str]:
    """What begins with `incomplete`, in the order listed; nothing when listing fails, or is not done in time."""
    found: list[str] = []

    def ask() -> None:
        try:
            found.extend(dict.fromkeys(name for name in list_names() if name.startswith(incomplete)))
        except Exception:  # a shell that waits for the Tab key is no place for an error
            return

    # A daemon: a server that hangs would keep the program, and so the shell, waiting for its thread.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN_S)
    return [] if thread.is_alive() else found


def task_names() -> Iterable[str]:
    """Of the task files, whether they can be read or not."""
    from ratchet.settings import load_settings

    return sorted(path.stem for path in (load_settings().configs_dir / "tasks").glob("*.yaml"))


def _run_names() -> list[str]:
    query = urlencode({"page_size": _NUM_RUNS, "sort_by": "created_at desc"})
    runs = _ask_kfp(f"runs?{query}").get("runs") or []
    return [str(run["display_name"]) for run in runs] + [str(run["run_id"]) for run in runs]


def _model_names() -> list[str]:
    from ratchet.settings import load_settings

    url = f"{load_settings().mlflow_endpoint.rstrip('/')}/api/2.0/mlflow"
    token = load_settings().mlflow_token.get_secret_value()
    names = []
    models = fetch_json(f"{url}/registered-models/search?max_results=100", token=token)
    for model in models.get("registered_models") or []:
        names += [f"{model['name']}@{alias['alias']}" for alias in model.get("aliases") or []]
    versions = fetch_json(f"{url}/model-versions/search?max_results=200", token=token)
    for version in versions.get("model_versions") or []:
        names.append(f"{version['name']}/{version['version']}")
    return sorted(names)


def _labeler_names() -> list[str]:
    from ratchet import wiring

    found: set[str] = set()
    for task in task_names():
        store = wiring.label_store()
        newest = store.list_shards(task)[-_NUM_NEWEST_SHARDS:]
        for shard in store.count_shards(newest).shards:
            found.update(shard.num_by_labeler or ())
    return sorted(found)


def _fields_of(route: str, key: str, field: str) -> list[str]:
    return [str(each[field]) for each in _ask_kfp(f"{route}?page_size=100").get(key) or []]


def _ask_kfp(route: str) -> dict[str, Any]:
    from ratchet.settings import load_settings

    settings = load_settings()
    token = settings.kfp_token.get_secret_value()
    return fetch_json(f"{settings.kfp_endpoint.rstrip('/')}/apis/v2beta1/{route}", token=token)


def fetch_json(url: str, *, token: str = "") -> dict[str, Any]:
    from ratchet.adapters.http import ONCE, HttpClient, Peer

    peer = Peer(name="The server", next_step="`ratchet status` shows what runs.", endpoint="its endpoint")
    found: dict[str, Any] = HttpClient(url, peer=peer, token=token, deadline_s=ANSWER_WITHIN_S, retry=ONCE).get_json("")
    return found


TaskOption = Annotated[
    str,
    typer.Option(
        "--task",
        "-t",
        help="Name of the task, as in configs/tasks/<task>.yaml.",
        callback=check_task,
        autocompletion=complete_task,
    ),
]
OnlyTaskOption = Annotated[
    str | None,
    typer.Option("--task", "-t", help="Only this task.", callback=check_task, autocompletion=complete_task),
]

"""`ratchet runs report`: the pages and pictures that a run drew, as files to open."""

import shutil
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from cli.output import print_rows, stderr
from cli.runs.logs import chosen_tasks
from ratchet.actions.runs.pages import INDEX, DrawnPage, write_run_pages
from ratchet.core.errors import NotFound
from ratchet.core.ports import Pipelines, RunState

_KEPT_S = 7 * 86_400
"""Copies in the state folder; each can be written again while the run's artifacts are there."""


def write_pages(
    pipelines: Pipelines, run: RunState, *, task: str | None, out: Path | None, is_opened: bool, as_json: bool
) -> None:
    """Write the copies, list them, open them. NotFound when the run drew something and nothing of it is left."""
    from ratchet import wiring

    settings = wiring.settings()
    chosen = None if task is None else {each.task_id for each in chosen_tasks(pipelines, run, task)}
    folder = out or _own_folder(settings.state_dir.absolute() / "reports", run.run_id)
    pages = write_run_pages(
        pipelines, wiring.object_store(), wiring.page_libraries(), run.run_id, tasks=chosen, folder=folder
    )
    written = [page for page in pages if page.path]
    if pages and not written:
        raise NotFound(f"No page of run {run.name} can be fetched: {pages[0].note}")
    _show(pages, as_json=as_json)
    if written and is_opened and not webbrowser.open((folder / INDEX).absolute().as_uri()):
        stderr.print(f"No browser started. Open {folder / INDEX}", markup=False)


def _own_folder(root: Path, run_id: str) -> Path:
    """The folder of one run below our own; folders that were written over a week ago go."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in root.iterdir():
        if folder.name != run_id and folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)
    return root / run_id


def _show(pages: Sequence[DrawnPage], *, as_json: bool) -> None:
    rows = [page.model_dump(mode="json") for page in pages]
    columns = ("task_id", "output", "path", *(("note",) if any(page.note for page in pages) else ()))
    print_rows(rows, columns=columns, as_json=as_json, empty="This run has no pages yet.")

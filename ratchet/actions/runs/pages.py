"""What a run drew, as files that need nothing else: pages with their drawing libraries in them, verdicts, pictures."""

import re
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.core.errors import NotFound, RatchetError
from ratchet.core.ports import ObjectStore, Pipelines, RunArtifact
from ratchet.core.reports import render_verdict
from ratchet.core.verdict import Verdict
from ratchet.stores.page_libraries import PageLibraries

_ENDINGS = {"system.HTML": ".html", "system.Markdown": ".md"}
_PICTURES = (".html", ".htm", ".svg", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".md")
_VERDICT_OUTPUT = "verdict"
INDEX = "index.html"


class DrawnPage(BaseModel):
    """One page or picture of a run."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    output: str
    path: Path | None
    """The written copy; None when the bytes could not be fetched."""
    note: str = ""
    """What is missing, and why."""


def write_run_pages(
    pipelines: Pipelines,
    objects: ObjectStore,
    libraries: PageLibraries,
    run_id: str,
    *,
    tasks: Collection[str] | None,
    folder: Path,
) -> Sequence[DrawnPage]:
    """Write everything that these tasks of a run drew below `folder`, with an index page. None: all tasks.

    A verdict is drawn here for a task that drew no page itself. Files of an earlier call are replaced.
    """
    made = [one for one in pipelines.list_artifacts(run_id) if tasks is None or one.task_id in tasks]
    drawn = [one for one in made if _ending_of(one)]
    have_page = {one.task_id for one in drawn}
    verdicts = [one for one in made if one.output == _VERDICT_OUTPUT and one.task_id not in have_page]
    written = [_write_page(pipelines, objects, libraries, one, folder=folder) for one in (*drawn, *verdicts)]
    pages = [page for page in written if page is not None]
    if any(page.path for page in pages):
        _write(folder / INDEX, _render_index(pages, run_id=run_id).encode())
    return pages


def _ending_of(artifact: RunArtifact) -> str:
    """ ".html" and so on, "" for what nobody can look at."""
    suffix = PurePosixPath(artifact.uri).suffix.lower()
    return _ENDINGS.get(artifact.type, suffix if suffix in _PICTURES else "")


def _write_page(
    pipelines: Pipelines, objects: ObjectStore, libraries: PageLibraries, artifact: RunArtifact, *, folder: Path
) -> DrawnPage | None:
    """None for an output called "verdict" that is none of ours."""
    ending = _ending_of(artifact)
    page = DrawnPage(task_id=artifact.task_id, output=artifact.output, path=None)
    try:
        is_in_s3 = artifact.uri.startswith("s3://")
        data = objects.fetch(artifact.uri) if is_in_s3 else pipelines.fetch_artifact(artifact)
    except NotFound as error:
        return page.model_copy(update={"note": str(error)})
    note = ""
    if ending in {".html", ".htm"}:
        data, note = _made_whole(libraries, data)
    elif not ending:
        try:
            verdict = Verdict.model_validate_json(data)
        except ValidationError:
            return None
        data, ending = render_verdict(verdict, title=artifact.task_id.rpartition("/")[2]).encode(), ".html"
    path = folder / f"{_file_name(artifact.task_id)}.{_file_name(artifact.output)}{ending}"
    _write(path, data)
    return page.model_copy(update={"path": path, "note": note})


def _made_whole(libraries: PageLibraries, data: bytes) -> tuple[bytes, str]:
    """A page that cannot be made whole is written as it is: its tables and histograms need no library."""
    try:
        return libraries.make_whole(data.decode()).encode(), ""
    except UnicodeDecodeError:
        return data, ""
    except RatchetError as error:
        return data, f"without its interactive part: {error}"


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "page"


def _render_index(pages: Sequence[DrawnPage], *, run_id: str) -> str:
    rows = "".join(f"<li>{_render_link(page)} {escape(page.note)}</li>" for page in pages)
    title = f"Run {escape(run_id)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1><ul>{rows}</ul></body></html>\n"
    )


def _render_link(page: DrawnPage) -> str:
    name = escape(f"{page.task_id}: {page.output}")
    return f'<a href="{escape(page.path.name)}">{name}</a>' if page.path else name


def _write(path: Path, data: bytes) -> None:
    """Replaced at once: a browser that reloads never sees half a page."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)

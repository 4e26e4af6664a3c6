"""`ratchet runs report`, on fakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet import wiring
from ratchet.core.errors import NotFound
from ratchet.core.pages import cut_libraries, render_folded
from ratchet.core.ports import RunArtifact
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.page_libraries import PageLibraries
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.wired import wire

LIBRARY = "draw();" * 1000
REASON = Reason(check="rows", value=1, limit=2, passed=False, text="1 row, 2 are needed")
VERDICT = Verdict(kind="rollback", verdict="refused", reasons=(REASON,)).model_dump_json().encode()


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.objects, self.pipelines = FakeObjectStore(), FakePipelines()
        self.run_id = self.pipelines.submit("retrain", run_name="r", experiment="digits", parameters={})
        self.settings = wiring.settings().model_copy(update={"state_dir": folder / "state"})
        wire(
            monkeypatch,
            object_store=lambda: self.objects,
            pipelines=lambda: self.pipelines,
            settings=lambda: self.settings,
        )

    def draw(self, task_id: str, output: str, data: bytes, *, kind: str = "system.HTML", uri: str = "") -> None:
        artifact = RunArtifact(
            task_id=task_id, output=output, name=output, type=kind, uri=uri or f"/x/{task_id}/{output}"
        )
        self.pipelines.artifacts[self.run_id] = (*self.pipelines.list_artifacts(self.run_id), artifact)
        if uri.startswith("s3://"):
            self.objects.put(uri, data)
        else:
            self.pipelines.contents[artifact.uri] = data

    def report(self, *arguments: str) -> list[dict]:
        answer = CliRunner().invoke(app, ["runs", "report", "latest", "--json", *arguments])
        if answer.exception:
            raise answer.exception
        return json.loads(answer.stdout)


@pytest.fixture
def world(monkeypatch, tmp_path):
    return World(monkeypatch, tmp_path)


def test_every_page_that_is_written_is_whole(world, tmp_path):
    cut = cut_libraries(f"<html><head></head><script>{LIBRARY}</script></html>", [LIBRARY])
    PageLibraries(world.objects, "ratchet").put(cut.libraries)
    world.draw("drift-check", "report", f"<body>{render_folded(cut, title='t')}</body>".encode())
    world.draw("plot", "picture", b"<svg/>", kind="system.Artifact", uri="s3://ratchet/pictures/p.svg")
    world.draw("train", "model", b"weights", kind="system.Model")
    rows = world.report("--out", str(tmp_path / "out"))
    assert {Path(row["path"]).name for row in rows} == {"drift-check.report.html", "plot.picture.svg"}
    assert LIBRARY in (tmp_path / "out" / "drift-check.report.html").read_text()
    assert "plot.picture.svg" in (tmp_path / "out" / "index.html").read_text()


def test_a_verdict_without_a_page_is_drawn(world):
    world.draw("rollback", "verdict", VERDICT, kind="system.Artifact")
    world.draw("other", "verdict", b"no json", kind="system.Artifact")
    world.draw("evaluate", "verdict", VERDICT, kind="system.Artifact")
    world.draw("evaluate", "report", b"<p>own page</p>")
    pages = {row["task_id"]: Path(row["path"]).read_text() for row in world.report()}
    assert "1 row, 2 are needed" in pages["rollback"]
    assert pages["evaluate"] == "<p>own page</p>" and "other" not in pages


def test_what_is_gone_is_told_and_the_rest_is_written(world):
    world.draw("a", "report", b"<p>here</p>")
    world.draw("b", "report", b"")
    world.pipelines.contents.pop("/x/b/report")
    rows = {row["task_id"]: row for row in world.report()}
    assert rows["a"]["path"] and rows["b"]["path"] is None and "was removed" in rows["b"]["note"]
    world.pipelines.contents.clear()
    with pytest.raises(NotFound, match="was removed"):
        world.report()


def test_a_page_whose_library_is_gone_is_written_without_it(world):
    cut = cut_libraries(f"<script>{LIBRARY}</script>", [LIBRARY])
    world.draw("drift-check", "report", f"<p>numbers</p>{render_folded(cut, title='t')}".encode())
    (row,) = world.report()
    assert "<p>numbers</p>" in Path(row["path"]).read_text()
    assert "without its interactive part" in row["note"]


def test_names_from_a_pipeline_stay_in_the_folder(world, tmp_path):
    world.draw("../../evil", "../../report", b"<p>x</p>")
    (row,) = world.report("--out", str(tmp_path / "out"))
    assert Path(row["path"]).parent == tmp_path / "out"


def test_a_run_that_drew_nothing_has_no_pages(world):
    assert world.report() == []

"""`ratchet demo --stop` leaves no stack behind."""

from pathlib import Path

import pytest

from cli.demo import demo
from demo import data, stage, story
from ratchet.core.errors import Unavailable
from ratchet.settings import load_settings


def test_the_stack_is_stopped_after_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: story.Story) -> None:
        raise Unavailable("The run has stood still.")

    stopped: list[str] = []
    monkeypatch.setattr(stage, "prepare", lambda: tmp_path)
    monkeypatch.setattr(stage, "start_stack", lambda _: load_settings())
    monkeypatch.setattr(stage, "stop_stack", lambda: stopped.append("stopped"))
    monkeypatch.setattr(data, "load_scans", lambda: None)
    monkeypatch.setattr(story, "tell", breaks)
    with pytest.raises(Unavailable, match="stood still"):
        demo(stop=True)
    assert stopped == ["stopped"]

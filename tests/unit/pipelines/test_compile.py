"""Compiling writes what changed, and a check writes nothing."""

import pytest

from pipelines import compile as compiling

TINY = {"tiny": "tests.kfp_server:tiny"}


@pytest.fixture(autouse=True)
def only_a_tiny_pipeline(monkeypatch):
    monkeypatch.setattr(compiling, "PIPELINES", TINY)


def test_compiling_twice_writes_once(tmp_path):
    assert [each.is_current for each in compiling.compile_all(tmp_path)] == [False]
    assert [each.is_current for each in compiling.compile_all(tmp_path)] == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_check_shows_the_difference_and_writes_nothing(tmp_path):
    path = compiling.compile_all(tmp_path)[0].path
    stale = path.read_text().replace("asked to fail", "failed as asked")
    path.write_text(stale)
    checked = compiling.compile_all(tmp_path, write=False)[0]
    assert not checked.is_current
    assert "-" in checked.diff and "failed as asked" in checked.diff
    assert path.read_text() == stale


def test_a_check_of_a_missing_file_is_stale(tmp_path):
    assert not compiling.compile_all(tmp_path, write=False)[0].is_current
    assert list(tmp_path.iterdir()) == []

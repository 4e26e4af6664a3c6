"""What takes room on the disk, and the warning before it is full."""

import os
from pathlib import Path

import pytest

from cli.disk import disk_data, print_disk
from embedded import disk
from embedded.disk import measure_disk, warning_of
from embedded.layout import Layout

GIB = 1024**3
MIB = 1024**2


def write(path: Path, size_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size_bytes))


@pytest.fixture
def layout(tmp_path):
    made = Layout(state_dir=tmp_path / "state")
    data = made.object_store / "data"
    for name in ("ratchet_1.dat", "ratchet_7.dat", "my_labels_2.dat", "4.dat", "filerldb2/0/x.ldb"):
        write(data / name, MIB)
    write(made.control_plane / "artifacts" / "retrain" / "run" / "task" / "model", 3 * MIB)
    (made.control_plane / "artifacts" / "loop").symlink_to(made.state_dir)
    return made


def test_each_part_has_its_room(layout):
    sizes = {use.part: round(use.size_bytes / MIB) for use in measure_disk(layout, within_s=60).uses if use.size_bytes}
    assert sizes == {"s3: ratchet": 2, "s3: my_labels": 1, "s3: other": 1, "s3: index": 1, "artifacts": 3}


def test_measuring_ends_in_time_and_says_that_there_is_more(layout):
    report = measure_disk(layout, within_s=0)
    assert not next(use for use in report.uses if use.part == "artifacts").is_whole
    assert report.free_bytes > 0


def test_a_state_folder_that_is_not_there_takes_nothing(tmp_path):
    report = measure_disk(Layout(state_dir=tmp_path / "a" / "b"))
    assert report.path == tmp_path and sum(use.size_bytes for use in report.uses) == 0


@pytest.mark.parametrize(
    ("total_gib", "free_gib", "is_warned"),
    [
        pytest.param(100, 10, False, id="a-tenth"),
        pytest.param(100, 9.9, True, id="less-than-a-tenth"),
        pytest.param(10, 2, False, id="two-gib"),
        pytest.param(10, 1.9, True, id="less-than-two-gib"),
        pytest.param(1, 0, True, id="full"),
    ],
)
def test_little_room_is_warned_of(total_gib, free_gib, is_warned):
    text = warning_of(total_bytes=total_gib * GIB, free_bytes=int(free_gib * GIB), path=Path("/data"))
    assert bool(text) == is_warned
    assert not is_warned or "10% and 2 GiB are needed" in text


def test_the_table_shows_what_is_large_and_the_warning(layout, monkeypatch, capsys):
    monkeypatch.setattr(disk, "FREE_RATIO_MIN", 1.1)
    data = disk_data(layout)
    assert data["object_store"] is None
    at, sizes = "2026-01-01T10:20:30Z", [{"kind": "payloads", "size_bytes": 5 * GIB, "is_whole": False}]
    print_disk({**data, "object_store": {"at": at, "sizes": sizes}})
    out, err = capsys.readouterr()
    assert "in s3: payloads" in out and "at least 5.0 GiB" in out and "as of 10:20 UTC" in out and "free in" in out
    assert "almost full" in err

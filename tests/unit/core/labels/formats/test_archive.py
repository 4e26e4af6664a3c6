"""A ZIP export is read where it lies: its one file of annotations within bounds, or a refusal in words."""

import io
import struct
import zipfile

import pytest

from ratchet.core.labels.formats.archive import annotations_in
from ratchet.core.labels.formats.items import UnreadableFile
from ratchet.core.labels.shards import SHARD_BYTES_MAX
from tests.fuzz.hostile import mangled
from tests.fuzz.running import fuzz


def archive(*files: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        for name, content in files:
            file.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        pytest.param("annotations.xml", ["images/a.jpg"], id="cvat"),
        pytest.param("annotations/instances_default.json", ["images/a.png", "images/b.png"], id="coco-of-cvat"),
        pytest.param("result.json", ["images/1.png", "README.md"], id="coco-of-label-studio"),
        pytest.param("project.json", ["__MACOSX/._project.json", ".DS_Store", "a/.hidden.json"], id="packed-on-a-mac"),
        pytest.param("../../etc/cron.d/x.json", [], id="a-name-that-leads-out"),
    ],
)
def test_the_one_file_of_annotations_is_read(name: str, others: list[str]) -> None:
    data = archive(*((other, b"x") for other in others), (name, b"[1]"))
    assert annotations_in(data) == (name, b"[1]")


def of_claimed_size(size: int) -> bytes:
    """Its directory says that the file has so many bytes."""
    data = bytearray(archive(("a.json", b"[]" * 100)))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(data)


def locked() -> bytes:
    data = bytearray(archive(("a.json", b"[]")))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(archive(("a.txt", b"x"), ("b/", b"")), "no file of annotations", id="nothing-in-it"),
        pytest.param(archive(("a.json", b"[]"), ("b.xml", b"<a/>")), "several files of annotations", id="several"),
        pytest.param(archive(("a.json", b"[]"))[:-30], "cannot be read", id="cut"),
        pytest.param(b"PK\x03\x04", "cannot be read", id="the-beginning-alone"),
        pytest.param(locked(), "a password", id="locked"),
        pytest.param(of_claimed_size(2**32 - 2), "more than 268,435,456 bytes", id="claims-too-much"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(data: bytes, told: str) -> None:
    with pytest.raises(UnreadableFile, match=told) as refused:
        annotations_in(data)
    assert len(str(refused.value)) < 500 and str(refused.value).isprintable()


@pytest.mark.slow
def test_a_bomb_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="more than 268,435,456 bytes"):
        annotations_in(archive(("a.json", bytes(SHARD_BYTES_MAX + 1))))


def test_a_file_that_holds_more_than_its_directory_says_is_cut_or_refused() -> None:
    try:
        _, content = annotations_in(of_claimed_size(1))
    except UnreadableFile:
        return
    assert len(content) <= 1


def test_no_archive_ends_in_another_error() -> None:
    good = archive(("annotations.xml", b"<annotations/>" * 50), ("images/a.jpg", b"x" * 300))

    def check(data: bytes) -> None:
        try:
            annotations_in(data)
        except UnreadableFile as error:
            assert str(error).isprintable()

    fuzz(lambda rng: mangled(rng, good, num_changes=rng.randrange(1, 5)), check, num_inputs=500)


def test_each_way_of_packing_is_read_or_named() -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert annotations_in(archive(("a.json", b"[]"), compression=compression))[1] == b"[]"

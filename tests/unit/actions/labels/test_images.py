"""Pictures of label lines: read within limits, from the places that are allowed and no others."""

import base64
import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from ratchet.actions.labels.images import ImageSource
from ratchet.actions.labels.reading import read_shard
from ratchet.core.errors import DataRejected, Unavailable
from ratchet.core.labels.schema import ExampleSchema, ImageInput
from tests.fakes.object_store import FakeObjectStore

RGB = ImageInput(name="scan", width=4, height=2)
GREY = ImageInput(name="scan", width=4, height=2, channels=1)
SCHEMA = ExampleSchema.model_validate(
    {"inputs": [RGB.model_dump()], "output": {"type": "category", "classes": ["cat", "dog"]}}
)


def picture(
    kind: str = "PNG", size: tuple[int, int] = (8, 4), color: Any = (250, 0, 0), mode: str = "RGB", **more: Any
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, kind, **more)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large, in 70 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(picture("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def line(scan: Any) -> bytes:
    said = {"id": "a", "label": "cat", "labeler": "ada", "labeled_at": "2026-01-31T09:00:00Z"}
    return json.dumps({**said, "inputs": {"scan": scan}}).encode()


def inline(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def read(scan: Any, source: ImageSource | None = None) -> Any:
    objects = FakeObjectStore((*("labels", "ratchet"), "pictures"))
    objects.put("s3://labels/scans/a.png", picture())
    objects.put("s3://ratchet/secret.png", picture())
    objects.put("s3://pictures/a.png", picture())
    found = source or ImageSource(objects, frozenset({"labels", "pictures"}))
    return read_shard("t.jsonl", line(scan), schema=SCHEMA, images=found).to_pylist()[0]["inputs"]["scan"]


def test_pictures_come_inline_or_from_an_allowed_bucket() -> None:
    assert read(inline(picture())) == read("s3://labels/scans/a.png") == read("s3://pictures/a.png")


@pytest.mark.parametrize(
    ("scan", "reason"),
    [
        pytest.param(
            "s3://ratchet/secret.png", "its bucket is not one of those for pictures, 'labels', 'pictures'", id="other"
        ),
        pytest.param("file:///etc/passwd", "`inputs.scan` must be a picture", id="file"),
        pytest.param("http://169.254.169.254/latest", "`inputs.scan` must be a picture", id="private-address"),
        pytest.param("s3://labels/../ratchet/secret.png", "it is not there", id="dots"),
        pytest.param("s3:///a.png", "its URI is not s3://BUCKET/KEY", id="no-bucket"),
        pytest.param("s3://labels/gone.png", "it is not there", id="gone"),
        pytest.param("s3://labels/", "it is not there", id="no-key"),
        pytest.param({"b64": "%%"}, "`inputs.scan.b64` must be base64, found '%%'", id="no-base64"),
        pytest.param({"b64": "", "uri": "x"}, "`inputs.scan` must be a picture", id="more-fields"),
        pytest.param(7, "`inputs.scan` must be a picture", id="number"),
        pytest.param(inline(b""), "its bytes are none of PNG, JPEG, WEBP", id="empty"),
        pytest.param(inline(picture("GIF")), "its bytes are none of PNG, JPEG, WEBP", id="gif"),
        pytest.param(inline(picture("PNG", (800, 400))[:200]), "it cannot be decoded", id="truncated-png"),
        pytest.param(inline(picture("JPEG", (800, 400))[:700]), "it cannot be decoded", id="truncated-jpeg"),
        pytest.param(inline(png_header(100_000, 100_000)), "more pixels than the limit of 40,000,000", id="gigapixel"),
        pytest.param(inline(png_header(2**31 - 1, 2**31 - 1)), "pixels", id="beyond-31-bits"),
        pytest.param(inline(jpeg_header(65_000, 65_000)), "more pixels than the limit", id="jpeg-gigapixel"),
        pytest.param(inline(png_header(10_000, 6_000)), "10,000 x 6,000 pixels; the limit is", id="60-megapixels"),
        pytest.param(inline(png_header(4, 4)), "it cannot be decoded", id="too-few-pixels"),
        pytest.param(inline(b"\x89PNG\r\n\x1a\n" + b"x" * (17 << 20)), "too long (", id="too-many-bytes"),
    ],
)
def test_a_picture_that_cannot_be_used_sets_its_line_aside(scan: Any, reason: str) -> None:
    with pytest.raises(DataRejected, match=r"^t\.jsonl, line 1: ") as caught:
        read(scan)
    assert reason in str(caught.value)
    assert "a shard that has landed never changes" in str(caught.value)


def test_a_store_that_does_not_answer_is_no_fault_of_the_labels() -> None:
    class Down(FakeObjectStore):
        def list_objects(self, prefix_uri: str, *, start_after: str = "") -> Any:
            raise Unavailable("no answer")

    with pytest.raises(Unavailable):
        read("s3://labels/a.png", ImageSource(Down(), frozenset({"labels"})))


def test_the_pictures_of_one_file_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.actions.labels.images.SHARD_PIXEL_BYTES_MAX", 3 * 24)
    lines = [line(inline(picture()))] * 4
    assert read_shard("t.jsonl", b"\n".join(lines[:3]), schema=SCHEMA).num_rows == 3
    with pytest.raises(DataRejected, match="96 bytes as pixels; the limit of a file is 72"):
        read_shard("t.jsonl", b"\n".join(lines), schema=SCHEMA)

"""Pictures as people send them: pixels of the task's size, or a refusal before they cost memory."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ratchet.core.labels.images import FILE_BYTES_MAX, decode_image, encode_png
from ratchet.core.labels.schema import ImageInput

GREY = ImageInput(name="photo", width=4, height=3, channels=1)
COLOUR = ImageInput(name="photo", width=4, height=3, channels=3)
_AS_SENSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What the sensor does to the picture, by the orientation that says so."""


def file_of(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("declared", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_each_format_and_mode_becomes_pixels_of_the_declared_size(kind: str, declared: ImageInput, mode: str) -> None:
    if kind == "JPEG" and mode in ("RGBA", "P"):
        return
    image = Image.new("RGB", (40, 30), (200, 200, 200)).convert(mode)
    pixels = np.frombuffer(decode_image(file_of(image, kind), declared), dtype=np.uint8)
    assert len(pixels) == declared.num_bytes and (abs(pixels.astype(int) - 200) <= 3).all()


def test_sixteen_bits_are_scaled_not_cut() -> None:
    image = Image.fromarray(np.full((3, 4), 32_768, dtype=np.uint16))
    assert set(decode_image(file_of(image, "PNG"), GREY)) == {128}


@settings(deadline=None)
@given(st.data(), st.sampled_from([GREY, COLOUR]))
def test_pixels_survive_a_png(data: st.DataObject, declared: ImageInput) -> None:
    pixels = data.draw(st.binary(min_size=declared.num_bytes, max_size=declared.num_bytes))
    assert decode_image(encode_png(pixels, declared), declared) == pixels


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "none of PNG, JPEG, WEBP", id="empty"),
        pytest.param(b"hello", "none of PNG, JPEG, WEBP", id="text"),
        pytest.param(file_of(Image.new("L", (4, 3)), "GIF"), "none of PNG, JPEG, WEBP", id="another-format"),
        pytest.param(png_claiming(100_000, 100_000), "more pixels than the limit of 40,000,000", id="gigapixels"),
        pytest.param(png_claiming(7_000, 6_000), "7,000 x 6,000 pixels", id="just-over"),
        pytest.param(png_claiming(2**31 - 1, 2**31 - 1), "more pixels than the limit", id="the-largest-header"),
        pytest.param(png_claiming(0, 4), "", id="no-pixels"),
        pytest.param(file_of(Image.new("RGB", (64, 64)), "JPEG")[:300], "cannot be decoded", id="cut-jpeg"),
        pytest.param(bytes(FILE_BYTES_MAX + 1), "33,554,433 bytes; the limit is 33,554,432", id="large-file"),
    ],
)
def test_what_is_no_picture_or_too_large_is_refused_in_words(data: bytes, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        decode_image(data, COLOUR)
    assert told in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_as_people_see_it(kind: str, orientation: int) -> None:
    """Half of it is bright: the left half as people see it, whichever way the sensor was held."""
    upright = Image.new("L", (40, 40), 0)
    upright.paste(255, (0, 0, 20, 40))
    stored = upright if orientation == 1 else upright.transpose(_AS_SENSED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, kind, exif=exif.tobytes(), quality=95)
    pixels = np.frombuffer(decode_image(file.getvalue(), GREY), dtype=np.uint8).reshape(3, 4)
    assert (pixels[:, 0] > 240).all() and (pixels[:, 3] < 15).all()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_picture_with_damaged_exif_is_taken_as_it_is_stored(exif: bytes) -> None:
    file = io.BytesIO()
    Image.new("L", (4, 3), 200).save(file, "JPEG", exif=exif)
    assert set(decode_image(file.getvalue(), GREY)) == {200}

"""Pictures that people send, made into the bytes that a task stores of them, within bounds. Pure.

The header is looked at before anything is decoded: a small file may claim, or unpack to, any number of pixels.
"""

import io
from typing import Any

from PIL import Image

from ratchet.core.labels.schema import ImageInput
from wire.printable import printable

FORMATS = ("PNG", "JPEG", "WEBP")
FILE_BYTES_MAX = 32 << 20
"""Of one file."""
PIXELS_MAX = 40_000_000
"""Of one picture as it was sent: 160 MB while it is decoded. The cameras of telephones have 12 to 50 million."""
_MODES = {1: "L", 3: "RGB"}
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, tag Orientation; 1, and any other value, is upright."""


def decode_image(data: bytes, declared: ImageInput) -> bytes:
    """Its pixels, `declared.height` x `declared.width` x `declared.channels` bytes, row by row: turned as EXIF says,
    scaled to that size whatever its own proportions are, transparency left out, of several frames the first.

    ValueError says why it is no picture, or that it is over a limit.
    """
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"the file has {len(data):,} bytes; the limit is {FILE_BYTES_MAX:,}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > PIXELS_MAX:
                raise _OverLimit(f"its header has {width:,} x {height:,} pixels; the limit is {PIXELS_MAX:,}")
            return _scaled(_upright(image), declared).tobytes()
    except _OverLimit as error:
        raise ValueError(str(error)) from None
    except Image.DecompressionBombError:
        raise ValueError(f"its header has more pixels than the limit of {PIXELS_MAX:,}") from None
    except Image.UnidentifiedImageError:
        raise ValueError(f"its bytes are none of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise whatever their formats made them think of
        raise ValueError(f"it cannot be decoded: {type(error).__name__}: {printable(str(error))}") from None


def encode_png(pixels: bytes, declared: ImageInput) -> bytes:
    """A PNG that `decode_image` makes into the same pixels again."""
    image = Image.frombytes(_MODES[declared.channels], (declared.width, declared.height), pixels)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


class _OverLimit(Exception):
    pass


def _upright(image: Any) -> Any:
    """As people see it: a telephone stores what its sensor saw, and which way is up beside it."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    except Exception:  # of a picture whose EXIF is damaged people see the pixels as they are stored
        turn = None
    return image if turn is None else image.transpose(turn)


def _scaled(image: Any, declared: ImageInput) -> Any:
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts 16 bits at 255 instead of scaling them
        image = image.point(lambda value: value / 256).convert("L")
    image = image.convert(_MODES[declared.channels])
    size = (declared.width, declared.height)
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)

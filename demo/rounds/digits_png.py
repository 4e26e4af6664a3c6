"""Which digit is in the picture? Handwritten digits as PNG files; from the second round on they are faint."""

import base64
import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from demo.rounds.data import Measure, Row, Size, TwoRounds, accuracy
from ratchet import wiring

_SIDE = 8
_SEED = 7
_FAINT = 0.45
"""How dark the darkest pixel of a faint scan still is."""
_FOLDER = "s3://labels/pictures/digits-png"
"""In the bucket of labels of the stack that the demo starts."""
_NUM = {"quick": (400, 400, 400), "whole": (600, 600, 597)}


def load(size: Size) -> TwoRounds:
    """Draw the pictures; the data ships with scikit-learn."""
    data = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(data.target))
    pixels_NF, digits_N = data.data[order], data.target[order]
    num_first, num_second, num_held_out = _NUM[size]
    pictures: dict[str, bytes] = {}

    def rows(start: int, stop: int, *, darkness: float) -> list[Row]:
        return [
            _row(index, pixels_NF[index] * darkness, int(digits_N[index]), pictures) for index in range(start, stop)
        ]

    first = rows(0, num_first, darkness=1.0)
    second = rows(num_first, num_first + num_second, darkness=_FAINT)
    held_out = rows(num_first + num_second, num_first + num_second + num_held_out, darkness=_FAINT)

    def upload() -> None:
        objects = wiring.object_store()
        for uri, picture in pictures.items():
            objects.put(uri, picture)

    return TwoRounds(
        name="digits-png",
        title="scikit-learn's 1,797 handwritten digits, as PNG files in a bucket",
        task={
            "name": "digits-png",
            "inputs": [{"name": "scan", "type": "image", "width": _SIDE, "height": _SIDE, "channels": 1}],
            "output": {"name": "digit", "type": "category", "classes": [str(digit) for digit in range(10)]},
            "model": {"kind": "image"},
        },
        # The challenger must answer otherwise than a champion that is wrong on half of the faint pictures.
        policies={"rollout": {"on_disagreement": "ignore"}},
        first=first,
        second=second,
        held_out=held_out,
        what_changed="a new scanner: its pictures are faint",
        measure=Measure("accuracy", accuracy),
        prepare=upload,
    )


def _row(index: int, pixels_F: np.ndarray, digit: int, pictures: dict[str, bytes]) -> Row:
    grey = (255 - pixels_F.reshape(_SIDE, _SIDE) * (255 / 16)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey, "L").save(file, format="PNG")
    uri = f"{_FOLDER}/scan-{index:04d}.png"
    pictures[uri] = file.getvalue()
    inline = {"scan": {"b64": base64.b64encode(pictures[uri]).decode()}}
    return Row(f"scan-{index:04d}", {"scan": uri}, str(digit), asked=inline)

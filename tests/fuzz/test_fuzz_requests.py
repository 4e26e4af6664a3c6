"""Hostile requests to the model server, and the images in them: answered, or the caller's error in bounded words."""

import asyncio
import base64
import io
from random import Random
from typing import Any

from PIL import Image

from ratchet.core.labels.images import decode_image
from ratchet.core.labels.schema import ImageInput
from ratchet.serving.model import ServedModel
from ratchet.serving.protocol_errors import InvalidInput
from tests.fuzz.hostile import json_bytes, mangled, mutated
from tests.fuzz.running import fuzz
from tests.unit.serving.typed_model import CATEGORY, NUMBER, ROW, TAGS, RuleModel, png, spec_of

PHOTO = base64.b64encode(png()).decode()
FULL = {**ROW, "remark": "late", "delay": 3, "photo": {"b64": PHOTO}, "track": [1, 2.5]}
DATATYPES = {"distance": "FP64", "delay": "FP64", "track": "FP64", "night": "BOOL"}
TENSORS = {
    "id": "7",
    "inputs": [
        {
            "name": name,
            "datatype": DATATYPES.get(name, "BYTES"),
            "shape": [1, 2] if name == "track" else [1],
            "data": value if name == "track" else [PHOTO if name == "photo" else value],
        }
        for name, value in FULL.items()
    ],
    "outputs": [{"name": "label"}],
}
SERVED = [ServedModel("flights", RuleModel(spec_of(output))) for output in (CATEGORY, NUMBER, TAGS)]  # type: ignore[arg-type]
PICTURE = ImageInput(name="photo", width=4, height=3)


def request(rng: Random) -> tuple[bool, bytes, str | None]:
    """V2 or V1, the body, and what the caller says of the length of its JSON."""
    is_v2 = rng.random() < 0.5
    good: Any = TENSORS if is_v2 else {"instances": [FULL, ROW]}
    made = json_bytes(mutated(rng, good, num_changes=rng.randrange(5)))
    length = str(len(made) + rng.randrange(-2, 2)) if rng.random() < 0.2 else None
    return is_v2, mangled(rng, made, num_changes=2) if rng.random() < 0.2 else made, length


def check_request(made: tuple[bool, bytes, str | None]) -> None:
    is_v2, body, length = made

    async def ask(model: ServedModel) -> None:
        if is_v2:
            await model.answer_v2(await model.read_v2(body, header_length=length))
        else:
            await model.answer_v1(await model.read_v1(body, {}))

    for model in SERVED:
        try:
            asyncio.run(ask(model))
        except InvalidInput as error:
            assert len(str(error)) < 2_000
            str(error).encode()


def picture(rng: Random) -> bytes:
    file = io.BytesIO()
    mode = rng.choice(["L", "RGB", "RGBA", "P", "1", "I;16"])
    kind = rng.choice(["PNG", "JPEG", "WEBP", "GIF", "TIFF"]) if mode in ("L", "RGB") else "PNG"
    Image.new(mode, (rng.randrange(1, 40), rng.randrange(1, 40))).save(file, kind)
    return mangled(rng, file.getvalue(), num_changes=rng.randrange(6))


def check_picture(made: bytes) -> None:
    try:
        assert len(decode_image(made, PICTURE)) == PICTURE.num_bytes
    except ValueError as error:
        assert len(str(error)) < 500
        str(error).encode()


def test_no_request_of_typed_inputs_is_a_server_error() -> None:
    fuzz(request, check_request, num_inputs=1_500)


def test_no_picture_is_more_than_refused() -> None:
    fuzz(picture, check_picture, num_inputs=2_000)

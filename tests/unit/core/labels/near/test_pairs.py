"""Near copies are found among many rows, and nothing else is taken for one."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ratchet.core.labels.digests import inputs_digests
from ratchet.core.labels.near import texts
from ratchet.core.labels.near.pairs import near_pairs
from ratchet.core.labels.schema import ExampleSchema, inputs_table

OUTPUT = {"type": "category", "classes": ["no", "yes"]}
MAIL = ExampleSchema.model_validate({"inputs": [{"name": "body", "type": "text", "optional": True}], "output": OUTPUT})
PHOTO = ExampleSchema.model_validate(
    {"inputs": [{"name": "photo", "type": "image", "width": 48, "height": 40, "channels": 3}], "output": OUTPUT}
)
TABLE = ExampleSchema.model_validate(
    {
        "inputs": [*({"name": f"n{at}", "type": "number"} for at in range(6)), {"name": "kind", "type": "category"}],
        "output": OUTPUT,
    }
)
WORDS = np.array(["".join(np.random.default_rng(at).choice(list("abcdefghijklmnop"), 6)) for at in range(900)])


def found(schema: ExampleSchema, inputs: list[dict[str, Any]], *, sides: Any = None) -> set[tuple[int, int]]:
    rows = pa.table({"inputs": pa.array(inputs, schema.inputs_type)})
    pairs = near_pairs(
        inputs_table(rows, schema),
        schema,
        digests_N=inputs_digests(rows, schema),
        sides_N=np.zeros(len(inputs), dtype=np.int64) if sides is None else np.asarray(sides),
        similarity_min=0.75,
    )
    return set(zip(pairs.left_P.tolist(), pairs.right_P.tolist(), strict=True))


def mails(num: int, *, words: int = 40, seed: int = 0) -> list[list[str]]:
    draw = np.random.default_rng(seed)
    return [WORDS[draw.integers(0, len(WORDS), words)].tolist() for _ in range(num)]


def bodies(lists: list[list[str]]) -> list[dict[str, Any]]:
    return [{"body": " ".join(words)} for words in lists]


def test_a_text_with_two_words_changed_is_found_with_a_probability_over_999_in_1000() -> None:
    originals = mails(2_000)
    copies = [list(words) for words in originals]
    for at, words in enumerate(copies):
        words[at % 20], words[20 + at % 20] = "another", "one"
    pairs = found(MAIL, bodies(originals + copies))
    assert len(pairs & {(at, at + 2_000) for at in range(2_000)}) >= 1_998
    assert all(right - left == 2_000 for left, right in pairs)


def test_no_two_unrelated_texts_are_near() -> None:
    assert found(MAIL, bodies(mails(3_000, words=25, seed=3))) == set()


@settings(max_examples=25)
@given(st.lists(st.text(max_size=30), max_size=30))
def test_short_texts_and_missing_ones_are_near_to_nothing(said: list[str]) -> None:
    common = ["yes", "Yes", "yes.", "ok", "OK", "no", "", None]
    assert found(MAIL, [{"body": text} for text in [*common, *said]]) == set()


@settings(max_examples=25)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), min_size=60), min_size=2, max_size=6))
def test_similarity_is_that_of_the_sets_of_shingles(said: list[str]) -> None:
    plain = texts.plain_texts(pa.array(said, pa.string()))
    left, right = np.zeros(len(said) - 1, dtype=np.int64), np.arange(1, len(said))

    def shingles(text: str) -> set[bytes]:
        data = text.encode()
        return {data[at : at + texts.SHINGLE_BYTES] for at in range(len(data) - texts.SHINGLE_BYTES + 1)}

    sets = [shingles(text) for text in plain.to_pylist()]
    expected = [len(sets[0] & each) / max(1, len(sets[0] | each)) for each in sets[1:]]
    assert texts.similarities(plain, left, right) == pytest.approx(expected)


def test_each_of_a_crowd_of_copies_has_a_partner_and_one_on_the_other_side() -> None:
    """A crowd costs no more than its size: not every pair of it is compared."""
    lists = mails(1, words=60) * 400
    crowd = bodies([[*words[: at % 60], f"copy{at}", *words[at % 60 :]] for at, words in enumerate(lists)])
    sides = [at % 7 == 0 for at in range(400)]
    pairs = found(MAIL, crowd, sides=sides)
    assert len({at for pair in pairs for at in pair}) == 400
    assert {at for pair in pairs if sides[pair[0]] != sides[pair[1]] for at in pair if sides[at]} == {
        at for at in range(400) if sides[at]
    }
    assert len(pairs) < 400 * 25


def test_equal_rows_are_no_near_ones() -> None:
    assert found(MAIL, bodies(mails(1) * 5)) == set()


def pictures() -> list[np.ndarray]:
    """Fields of soft spots."""
    draw = np.random.default_rng(1)
    small = draw.integers(0, 255, (120, 5, 6, 3)).astype(np.uint8)
    return [np.asarray(Image.fromarray(each).resize((48, 40), Image.Resampling.BICUBIC)) for each in small]


def jpeg(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def photos(all_of: list[np.ndarray]) -> list[dict[str, Any]]:
    return [{"photo": each.tobytes()} for each in all_of]


def test_a_picture_saved_again_or_made_darker_is_found_and_no_other() -> None:
    originals = pictures()
    again, darker = [jpeg(each) for each in originals], [(each * 0.9).astype(np.uint8) for each in originals]
    pairs = found(PHOTO, photos([*originals, *again, *darker]))
    assert {right % 120 - left % 120 for left, right in pairs} == {0}
    assert len({right for left, right in pairs}) >= 228  # 95 %
    assert found(PHOTO, photos(originals)) == set()


def test_blank_pictures_and_smooth_slopes_are_near_to_nothing() -> None:
    blank = [np.full((40, 48, 3), level, dtype=np.uint8) for level in range(0, 250, 5)]
    noise = np.random.default_rng(0).integers(0, 3, (20, 40, 48, 3)).astype(np.uint8)
    assert found(PHOTO, photos([*blank, *noise])) == set()


def numbers(values: np.ndarray, kind: str = "a") -> list[dict[str, Any]]:
    return [{f"n{at}": float(number) for at, number in enumerate(row)} | {"kind": kind} for row in values]


def test_numbers_of_half_the_precision_are_found_and_a_category_must_be_equal() -> None:
    values = np.random.default_rng(0).lognormal(size=(2_000, 6))
    single = values.astype(np.float32).astype(np.float64)
    pairs = found(TABLE, numbers(values) + numbers(single))
    assert len(pairs & {(at, at + 2_000) for at in range(2_000)}) >= 1_995
    assert all(right - left == 2_000 for left, right in pairs)
    assert found(TABLE, numbers(values) + numbers(single, "b")) == set()


def test_one_absurd_number_makes_no_rows_near() -> None:
    values = np.random.default_rng(0).normal(size=(500, 6))
    values[7] = 1e300
    assert found(TABLE, numbers(values)) == set()


@pytest.mark.parametrize("schema", [MAIL, PHOTO, TABLE], ids=["text", "image", "table"])
def test_no_row_and_one_row_are_near_to_nothing(schema: ExampleSchema) -> None:
    missing: dict[str, Any] = {each.name: None for each in schema.inputs}
    assert found(schema, []) == found(schema, [missing]) == found(schema, [missing, missing]) == set()

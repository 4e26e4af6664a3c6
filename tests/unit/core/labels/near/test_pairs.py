"""Near copies are found among many rows, and nothing else is taken for one."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ratchet.core.labels.near import texts
from ratchet.core.labels.near.pairs import near_pairs
from ratchet.core.labels.near.signatures import Signatures, bytes_of_signatures, joined, signatures_of_bytes, signed
from ratchet.core.labels.schema import ExampleSchema

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


def of(
    schema: ExampleSchema, inputs: list[dict[str, Any]], *, splits: Any = None, steps_F: np.ndarray | None = None
) -> Signatures:
    """splits: places in SPLITS; all in train when it is left out."""
    rows = {"id": [f"row-{at}" for at in range(len(inputs))], "inputs": pa.array(inputs, schema.inputs_type)}
    found = signed(pa.table(rows, schema=pa.schema(list(schema.rows_schema)[:2])), schema, steps_F=steps_F)
    given = pa.array(np.zeros(len(inputs)) if splits is None else np.asarray(splits), pa.uint8())
    return found._replace(rows=found.rows.set_column(1, "split", given))


def found(schema: ExampleSchema, inputs: list[dict[str, Any]], *, splits: Any = None) -> set[tuple[int, int]]:
    """Of a batch where nothing is known."""
    return pairs_of(joined([], schema), of(schema, inputs, splits=splits))


def pairs_of(known: Signatures, new: Signatures) -> set[tuple[int, int]]:
    pairs = near_pairs(known, new, similarity_min=0.75)
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


def changed(words: list[str], share: float, draw: np.random.Generator) -> list[str]:
    return [draw.choice(WORDS) if draw.random() < share else word for word in words]


def test_similarity_is_about_that_of_the_sets_of_shingles() -> None:
    """Within 0.13, four deviations of 256 bins at a half."""
    draw = np.random.default_rng(2)
    originals = mails(60, words=60)
    others = [changed(words, at / 60, draw) for at, words in enumerate(originals)]
    plain = [texts.plain_texts(pa.array([" ".join(words) for words in lists])) for lists in (originals, others)]

    def shingles(text: str) -> set[bytes]:
        data = text.encode()
        return {data[at : at + texts.SHINGLE_BYTES] for at in range(len(data) - texts.SHINGLE_BYTES + 1)}

    pairs = zip(*(map(shingles, side.to_pylist()) for side in plain), strict=True)
    expected = np.array([len(left & right) / len(left | right) for left, right in pairs])
    said = texts.similarities(*map(texts.signatures_of, plain))
    assert np.abs(said - expected).max() < 0.13 and expected.min() < 0.1 and expected.max() == 1


@settings(max_examples=25)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), min_size=60), min_size=2, max_size=6))
def test_a_text_has_one_signature_wherever_it_stands(said: list[str]) -> None:
    plain = texts.plain_texts(pa.array(said, pa.string()))
    alone = np.concatenate([texts.signatures_of(plain.slice(at, 1)) for at in range(len(said))])
    assert (texts.signatures_of(plain) == alone).all()
    assert (texts.similarities(alone, alone) == 1).all()


def test_a_copy_is_found_in_a_crowd_of_alike_texts() -> None:
    """Newsletters of one template: half of each is the same."""
    template = mails(1, words=40)[0]
    letters = [template + words for words in mails(3_000, words=40, seed=1)]
    copies = [[*letters[at][:70], "edited", *letters[at][71:]] for at in range(0, 3_000, 100)]
    pairs = pairs_of(of(MAIL, bodies(letters)), of(MAIL, bodies(copies)))
    assert len(pairs & {(at, 3_000 + at // 100) for at in range(0, 3_000, 100)}) >= 29
    assert all(right < 3_030 and (right - 3_000) * 100 == left for left, right in pairs)


@pytest.mark.parametrize("cut", [1, 40, 79])
def test_what_is_known_is_compared_as_if_it_came_with_the_batch(cut: int) -> None:
    lists = mails(40)
    inputs = bodies([each for words in lists for each in (words, [*words[:20], "other", *words[21:]])])
    known = of(MAIL, inputs[:cut])
    assert pairs_of(known, of(MAIL, inputs[cut:])) == {pair for pair in found(MAIL, inputs) if pair[1] >= cut}


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        pytest.param([0, 2, 0], {(0, 2), (1, 2)}, id="one-in-train-one-in-test"),
        pytest.param([1, 2, 0], {(0, 2), (1, 2)}, id="one-in-val-one-in-test"),
        pytest.param([0, 0, 2], {(0, 2), (1, 2)}, id="two-in-train"),
    ],
)
def test_a_new_row_is_paired_with_near_ones_of_every_split(splits: list[int], expected: set[tuple[int, int]]) -> None:
    (words,) = mails(1)
    inputs = bodies([words, [*words[:20], "other", *words[21:]], [*words[:9], "third", *words[10:]]])
    known, new = of(MAIL, inputs[:2], splits=splits[:2]), of(MAIL, inputs[2:], splits=splits[2:])
    assert pairs_of(known, new) == expected


def test_each_of_a_crowd_of_copies_has_a_partner_and_one_on_the_other_side() -> None:
    """A crowd costs no more than its size: not every pair of it is compared."""
    lists = mails(1, words=60) * 400
    crowd = bodies([[*words[: at % 60], f"copy{at}", *words[at % 60 :]] for at, words in enumerate(lists)])
    sides = [at % 7 == 0 for at in range(400)]
    pairs = found(MAIL, crowd, splits=sides)
    assert len({at for pair in pairs for at in pair}) == 400
    assert {at for pair in pairs if sides[pair[0]] != sides[pair[1]] for at in pair if sides[at]} == {
        at for at in range(400) if sides[at]
    }
    assert len(pairs) < 400 * 60


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


def test_numbers_are_compared_by_the_steps_that_the_known_ones_have() -> None:
    values = np.random.default_rng(0).lognormal(size=(300, 6))
    known = of(TABLE, numbers(values))
    new = of(TABLE, numbers(values[:50].astype(np.float32).astype(np.float64)), steps_F=known.steps_F)
    assert {(at, 300 + at) for at in range(50)} >= pairs_of(known, new)
    assert len(pairs_of(known, new)) >= 49


EXAMPLES: dict[str, tuple[ExampleSchema, list[dict[str, Any]]]] = {
    "text": (MAIL, bodies(mails(9))),
    "image": (PHOTO, photos(pictures()[:9])),
    "table": (TABLE, numbers(np.random.default_rng(0).normal(size=(9, 6)))),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_stored_signatures_come_back_and_are_as_small_as_it_is_said(kind: str) -> None:
    schema, inputs = EXAMPLES[kind]
    found = of(schema, inputs)
    back, covers = signatures_of_bytes(bytes_of_signatures(found, ["one", "two"]), schema)
    assert (back.rows, back.steps_F.tolist(), covers) == (found.rows, found.steps_F.tolist(), ("one", "two"))
    per_row = {"text": 128, "image": 272, "table": 16}[kind]
    assert found.rows.drop_columns("id").nbytes == 9 * (17 + per_row)
    with pytest.raises(ValueError, match="no signatures"):
        signatures_of_bytes(bytes_of_signatures(found, []), TABLE if kind != "table" else MAIL)


@pytest.mark.parametrize("schema", [MAIL, PHOTO, TABLE], ids=["text", "image", "table"])
def test_no_row_and_one_row_are_near_to_nothing(schema: ExampleSchema) -> None:
    missing: dict[str, Any] = {each.name: None for each in schema.inputs}
    assert found(schema, []) == found(schema, [missing]) == found(schema, [missing, missing]) == set()

"""From a text to tokens: the rules of uncased BERT, whose names for them stand in the cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.tasks.kinds.wordpiece import WordPiece

VOCABULARY = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "b",
    "un",
    "##able",
    "##s",
    "!",
    "[",
    "]",
    "sep",
    "東",
    "京",
    "σ",
    "##c",
)
WORDPIECE = WordPiece(VOCABULARY)


def tokens_of(*texts: str | None, tokens_max: int = 64, chars_max: int = 1_000) -> str:
    (ids,) = WORDPIECE.ids_of([texts], tokens_max=tokens_max, chars_max=chars_max)
    return " ".join(VOCABULARY[each] for each in ids)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        pytest.param("a b", "a b", id="words"),
        pytest.param("A Ä á\u0301", "a a a", id="lower-case-without-accents"),
        pytest.param("unables", "un ##able ##s", id="longest-pieces"),
        pytest.param("unx", "[UNK]", id="a-part-is-unknown"),
        pytest.param("a" * 101, "[UNK]", id="too-long-a-word"),
        pytest.param("a!b", "a ! b", id="punctuation"),
        pytest.param("a\u00b7b", "a [UNK] b", id="punctuation-beyond-ascii"),
        pytest.param("a東京b", "a 東 京 b", id="ideographs"),
        pytest.param("\x00u\x07n\u200da\ufffdble", "un ##able", id="control-characters"),
        pytest.param("a\tb\u3000a\r\nb", "a b a b", id="white-space"),
        pytest.param("Σ ΣΣ", "σ [UNK]", id="capital-sigma"),
        pytest.param("[SEP]", "[ sep ]", id="a-special-token-is-text"),
        pytest.param("", "", id="empty"),
        pytest.param(None, "", id="missing"),
    ],
)
def test_a_text_is_read_as_bert_reads_it(text: str | None, tokens: str) -> None:
    assert tokens_of(text) == " ".join(filter(None, ["[CLS]", tokens, "[SEP]"]))


def test_texts_of_a_row_share_its_tokens() -> None:
    assert tokens_of("a a a a", "b", tokens_max=7) == "[CLS] a a [SEP] b [SEP]"
    assert tokens_of("a a a a", None, tokens_max=7) == "[CLS] a a [SEP] [SEP]"
    assert tokens_of("unables a", tokens_max=4) == "[CLS] un ##able [SEP]"
    assert tokens_of("ab a", chars_max=1) == "[CLS] a [SEP]"


@given(st.lists(st.lists(st.none() | st.text(alphabet="ab! unsΣ東\u0301\x85"), min_size=2, max_size=2), max_size=5))
def test_a_row_has_the_same_tokens_whatever_stands_beside_it(rows: list[list[str | None]]) -> None:
    together = WORDPIECE.ids_of(rows, tokens_max=17, chars_max=9)
    assert together.shape[0] == len(rows)
    assert together.shape[1] <= 17
    for row, texts in enumerate(rows):
        (alone,) = WORDPIECE.ids_of([texts], tokens_max=17, chars_max=9)
        assert together[row, : len(alone)].tolist() == alone.tolist()
        assert not together[row, len(alone) :].any()


def test_a_vocabulary_without_the_special_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the vocabulary of 1 tokens has no \[PAD\], \[UNK\], \[CLS\], \[SEP\]"):
        WordPiece(["a"])

"""Texts as WordPiece tokens, as uncased BERT models read them (Devlin et al., 2019).

Words are lower case, without accents, and cut into the longest pieces that the vocabulary has. The same ids as of the
library `tokenizers`, but that a "[SEP]" in a text is five characters and not the token.
Shape suffixes: B rows, L tokens of the longest row.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_WORD_CHARS_MAX = 100
_WORDS_KEPT_MAX = 100_000
"""Whose pieces are remembered, so that a frequent word is cut once."""
_ASCII_WORDS = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_NO_ASCII_TEXT = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127])
"""Control characters, which are dropped."""
_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)
"""Each is a word of its own."""


class WordPiece:
    """The tokens of a vocabulary, in which a token's place is its id."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self._ids = {token: place for place, token in enumerate(vocabulary)}
        if missing := [token for token in (PAD, UNKNOWN, BEGIN, END) if token not in self._ids]:
            raise ValueError(f"the vocabulary of {len(vocabulary)} tokens has no {', '.join(missing)}")
        self._pieces: dict[str, tuple[int, ...]] = {}

    def ids_of(self, rows: Sequence[Sequence[str | None]], *, tokens_max: int, chars_max: int) -> np.ndarray:
        """(B, L) int32: begin, the tokens of each text of a row and an end after each, then padding.

        tokens_max: of a row; of k texts each has a k-th. chars_max: characters of a text that are read.
        """
        found = [self._row(texts, tokens_max, chars_max) for texts in rows]
        ids_BL = np.full((len(found), max(map(len, found), default=0)), self._ids[PAD], dtype=np.int32)
        for row, ids in enumerate(found):
            ids_BL[row, : len(ids)] = ids
        return ids_BL

    def _row(self, texts: Sequence[str | None], tokens_max: int, chars_max: int) -> list[int]:
        ids, room = [self._ids[BEGIN]], (tokens_max - 1) // max(len(texts), 1) - 1
        for text in texts:
            start = len(ids)
            for word in _words_of((text or "")[:chars_max]):
                if len(ids) >= start + room:
                    break
                ids += self._pieces_of(word)
            del ids[start + room :]
            ids.append(self._ids[END])
        return ids

    def _pieces_of(self, word: str) -> tuple[int, ...]:
        pieces = self._pieces.get(word)
        if pieces is None:
            if len(self._pieces) >= _WORDS_KEPT_MAX:
                self._pieces.clear()
            pieces = self._pieces[word] = self._cut(word)
        return pieces

    def _cut(self, word: str) -> tuple[int, ...]:
        """The longest token that the word begins with, and so on; unknown as a whole where one part has none."""
        unknown = (self._ids[UNKNOWN],)
        if len(word) > _WORD_CHARS_MAX:
            return unknown
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = self._ids.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return unknown
            pieces.append(piece)
            start = end
        return tuple(pieces)


def _words_of(text: str) -> list[str]:
    """Words and single marks of punctuation, in lower case."""
    if text.isascii():
        return _ASCII_WORDS.findall(text.translate(_NO_ASCII_TEXT).lower())
    spaced = "".join(map(_cleaned, text))
    # One character at a time, so that a capital sigma at a word's end becomes no final sigma.
    bare = (char for char in unicodedata.normalize("NFD", spaced) if unicodedata.category(char) != "Mn")
    lower = "".join(char.lower() for char in bare)
    return "".join(f" {char} " if _is_punctuation(char) else char for char in lower).split()


def _cleaned(char: str) -> str:
    if char in "\t\n\r":
        return " "
    if char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs"):
        return ""
    code = ord(char)
    return f" {char} " if any(low <= code <= high for low, high in _IDEOGRAPHS) else char


def _is_punctuation(char: str) -> bool:
    code = ord(char)
    is_ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return is_ascii_mark or unicodedata.category(char).startswith("P")

"""The file of ids that an erasure takes."""

import pytest

from ratchet.core.errors import DataRejected
from ratchet.core.labels.erasure import parse_ids


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a\nb\n", id="plain"),
        pytest.param(b"a\r\n\r\nb", id="crlf-and-blank"),
        pytest.param(b"\xef\xbb\xbfa\nb", id="byte-order-mark"),
    ],
)
def test_every_line_is_an_id(data: bytes) -> None:
    assert parse_ids(data, where="ids.txt") == ["a", "b"]


def test_only_a_newline_ends_an_id() -> None:
    assert parse_ids("a\u2028b\nc".encode(), where="ids.txt") == ["a\u2028b", "c"]


def test_a_line_that_is_not_utf_8_is_named() -> None:
    with pytest.raises(DataRejected, match=r"ids\.txt, line 2: not UTF-8: "):
        parse_ids(b"a\ncaf\xe9\n", where="ids.txt")

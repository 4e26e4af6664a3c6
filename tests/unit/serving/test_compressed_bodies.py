"""What a compressed body unpacks to, within its limit."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.serving.compressed_bodies import BodyTooLarge, unpacked

GZIP, DEFLATE = 31, 15


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_all_members_are_unpacked_one_after_another(members: list[bytes]) -> None:
    plain = b"".join(members)
    for pack, wbits in ((gzip.compress, GZIP), (zlib.compress, DEFLATE)):
        packed = b"".join(pack(each) for each in members)
        assert unpacked(packed, wbits=wbits, bytes_max=len(plain)) == plain
        if plain:
            with pytest.raises(BodyTooLarge):
                unpacked(packed, wbits=wbits, bytes_max=len(plain) - 1)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_what_is_cut_off_is_refused(plain: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(plain)
    with pytest.raises(DataRejected):
        unpacked(packed[: data.draw(st.integers(0, len(packed) - 1))], wbits=GZIP, bytes_max=1000)


@given(st.binary(max_size=100))
def test_no_bytes_are_another_error(body: bytes) -> None:
    try:
        assert len(unpacked(body, wbits=GZIP, bytes_max=1000)) <= 1000
    except DataRejected as error:
        assert str(error)

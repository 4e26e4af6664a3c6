"""What S3ObjectStore does when an answer is lost or breaks off: no server can be made to do that at will."""

import io
from typing import Any

import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.response import StreamingBody

from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.errors import Conflict, Unavailable


class LostAnswer:
    """The first PUT arrived and its answer did not: botocore's second attempt meets the object of the first."""

    def __init__(self, stored: bytes, *, num_retries: int) -> None:
        self._stored = stored
        self._num_retries = num_retries

    def put_object(self, **_: Any) -> None:
        metadata = {"HTTPStatusCode": 412, "RetryAttempts": self._num_retries}
        raise ClientError({"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": metadata}, "PutObject")

    def get_object(self, **_: Any) -> dict[str, Any]:
        return _answer(self._stored, len(self._stored))


class BreaksOff:
    """The first `num_broken` answers end before their last byte."""

    def __init__(self, data: bytes, *, num_broken: int) -> None:
        self._data = data
        self._num_broken = num_broken

    def get_object(self, **_: Any) -> dict[str, Any]:
        self._num_broken -= 1
        return _answer(self._data[:-1] if self._num_broken >= 0 else self._data, len(self._data))


def _answer(data: bytes, size_bytes: int) -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(data), size_bytes), "ContentLength": size_bytes}


@pytest.mark.parametrize(
    ("stored", "num_retries", "is_ours"),
    [
        pytest.param(b"mine", 1, True, id="our-first-attempt-won"),
        pytest.param(b"other", 1, False, id="another-writer-won"),
        pytest.param(b"mine", 0, False, id="the-same-bytes-of-another-writer"),
    ],
)
def test_a_lost_answer_is_no_conflict(stored: bytes, num_retries: int, is_ours: bool) -> None:
    store = S3ObjectStore(LostAnswer(stored, num_retries=num_retries), endpoint="here")
    if is_ours:
        store.put_if_absent("s3://ratchet/x", b"mine")
    else:
        with pytest.raises(Conflict):
            store.put_if_absent("s3://ratchet/x", b"mine")


def test_a_body_that_breaks_off_is_read_again_and_not_for_ever() -> None:
    assert S3ObjectStore(BreaksOff(b"data", num_broken=2), endpoint="here").fetch("s3://ratchet/x") == b"data"
    with pytest.raises(Unavailable, match="s3://ratchet/x") as caught:
        S3ObjectStore(BreaksOff(b"data", num_broken=3), endpoint="here").fetch("s3://ratchet/x")
    assert isinstance(caught.value.__cause__, IncompleteReadError)

"""Two headers of each answer, an error's too: the model that gave it, and the request that it answers.

The id of a request is the gateway's, or the user's own; one that has none gets one here. Feedback names it later.
"""

import uuid
from collections.abc import Mapping

DIGEST_HEADER = "x-ratchet-model"
REQUEST_ID_HEADER = "x-request-id"
_REQUEST_ID_BYTES_MAX = 256


def request_id_of(headers: Mapping[str, str]) -> str:
    found = headers.get(REQUEST_ID_HEADER, "")
    is_valid = 0 < len(found) <= _REQUEST_ID_BYTES_MAX and found.isascii()
    return found if is_valid else uuid.uuid4().hex

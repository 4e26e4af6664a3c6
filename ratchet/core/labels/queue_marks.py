"""What an opinion says of the queue that its example came from: why it was picked, whether the champion's answer was
shown, and what that answer was. Pure.

The mark is one text, which goes through a labelling tool and back with its example: `audit.blind.<answer>`. The answer
is in it for blind examples too, so it cannot be read by eye, and equal answers do not look alike. That is no secret
from a person who computes it.
"""

import base64
import binascii
import hashlib
import json
import re
from typing import Any, NamedTuple, get_args

from ratchet.core.labels.queueing import Reason

QUEUE_MARK = "queue_mark"
"""Field of a label line, and of a tool's example."""
MARK_PATTERN = rf"^({'|'.join(get_args(Reason))})\.(blind|shown)\.[A-Za-z0-9_-]*$"
"""Read alike by `re` and by Arrow's RE2."""
MARK_CHARS_MAX = 4_000
MODEL_CHARS = 12
"""Of the champion's digest."""
_BLOCK_BYTES = 32
"""Answers are padded to blocks, so that no length tells one from the other."""
_MARK = re.compile(MARK_PATTERN)


class QueueMark(NamedTuple):
    reason: str
    is_blind: bool
    answer: Any = None
    """The champion's, None when it was not asked: a text, a number or a list of texts."""
    model: str = ""
    """The first characters of the champion's digest."""

    @property
    def is_audit(self) -> bool:
        return self.reason == "audit"


def is_mark(text: object) -> bool:
    """Whether it has the form of a mark."""
    return isinstance(text, str) and len(text) <= MARK_CHARS_MAX and _MARK.fullmatch(text) is not None


def render_mark(mark: QueueMark, example_id: str) -> str:
    """Without the answer where that is too long (thousands of tags)."""
    head = f"{mark.reason}.{'blind' if mark.is_blind else 'shown'}."
    sealed = "" if mark.answer is None else _sealed([mark.answer, mark.model[:MODEL_CHARS]], example_id)
    return head + sealed if len(head + sealed) <= MARK_CHARS_MAX else head


def parse_mark(text: str, example_id: str) -> QueueMark | None:
    """None: it is no mark of this example."""
    if not is_mark(text):
        return None
    reason, shown, sealed = text.split(".")
    if not sealed:
        return QueueMark(reason, shown == "blind")
    try:
        answer, model = json.loads(_masked(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)), example_id))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        return None
    return QueueMark(reason, shown == "blind", answer, model) if isinstance(model, str) else None


def _sealed(value: Any, example_id: str) -> str:
    body = json.dumps(value, ensure_ascii=False).encode()
    padded = body.ljust(-(-len(body) // _BLOCK_BYTES) * _BLOCK_BYTES)
    return base64.urlsafe_b64encode(_masked(padded, example_id)).decode().rstrip("=")


def _masked(data: bytes, example_id: str) -> bytes:
    mask = hashlib.shake_256(example_id.encode()).digest(len(data))
    return bytes(each ^ other for each, other in zip(data, mask, strict=True))

"""What a model server answers instead of a prediction, in the words that KServe's own server uses.

ProtocolError
├─ InvalidInput    400: the request is wrong
├─ NotServed       404: this server does not have what was asked for
│  └─ ModelNotFound
├─ ModelNotReady   503: ask again
└─ InferenceError  500: the model failed
"""

from typing import ClassVar


class ProtocolError(Exception):
    """Its text is the answer's `error`."""

    status: ClassVar[int] = 500


class InvalidInput(ProtocolError):
    status = 400


class NotServed(ProtocolError):
    status = 404


class ModelNotFound(NotServed):
    def __init__(self, name: str) -> None:
        super().__init__(f"Model with name {name} does not exist.")


class ModelNotReady(ProtocolError):
    status = 503

    def __init__(self, name: str) -> None:
        super().__init__(f"Model with name {name} is not ready.")


class InferenceError(ProtocolError):
    """It counts against the model that answers; its text is in the log too."""

"""What a V2 request asks for and what it is answered with, before either is JSON or a message of gRPC."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa


class RequestedOutput(NamedTuple):
    name: str
    is_binary: bool = False


class TypedInferRequest(NamedTuple):
    """A request with the inputs as the model takes them."""

    table: pa.Table
    """(B,) rows; a column for each input."""
    id: str | None
    outputs: Sequence[RequestedOutput]
    """In the order asked for; never empty."""


class OutputTensor(NamedTuple):
    name: str
    shape: Sequence[int]
    datatype: str
    data: Sequence[Any]
    """Flat: texts or numbers."""
    parameters: Mapping[str, str] | None = None


class InferAnswer(NamedTuple):
    id: str
    model_name: str
    outputs: Sequence[OutputTensor]
    """Those asked for, in that order."""
    parameters: Mapping[str, str]

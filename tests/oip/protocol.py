"""What the Open Inference Protocol says of datatypes, tensors and errors, for the checks. It knows no server."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

HEADER_LENGTH = "inference-header-content-length"
INTEGERS = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
FLOATS = ("FP16", "BF16", "FP32", "FP64")
NUMERIC = (*INTEGERS, *FLOATS)
DATATYPES = (*NUMERIC, "BOOL", "BYTES")
NO_JSON_FORM = frozenset({"FP16", "BF16"})
"""Servers may refuse them there."""
NUMPY = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BOOL": np.dtype("?"),
}  # fmt: skip
REFUSED = frozenset({400, 404, 405, 409, 413, 415, 422, 501})
"""Of requests that are the caller's mistake; 501 is KServe's own for what it does not have."""

Tensor = dict[str, Any]
Document = dict[str, Any]


def encode(datatype: str, values: Sequence[Any]) -> bytes:
    """The binary form of a flat tensor."""
    if datatype == "BYTES":
        elements = [value.encode() if isinstance(value, str) else value for value in values]
        return b"".join(len(each).to_bytes(4, "little") + each for each in elements)
    if datatype == "BF16":
        return (np.array(values, dtype=np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    return np.array(values, dtype=NUMPY[datatype]).tobytes()


def decode(datatype: str, data: bytes) -> list[Any]:
    if datatype != "BYTES":
        return list(np.frombuffer(data, dtype=NUMPY[datatype]).tolist())
    found: list[Any] = []
    start = 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        assert end <= len(data), f"element {len(found)} is longer than the data"
        found.append(data[start + 4 : end].decode())
        start = end
    return found


def flat(data: Any) -> list[Any]:
    return [value for row in data for value in flat(row)] if isinstance(data, list) else [data]


def in_binary(document: Document) -> tuple[bytes, int]:
    """The request with all of its data behind the JSON: the body, and the length of the JSON."""
    inputs, tails = [], []
    for tensor in document["inputs"]:
        tail = tensor["data"] if isinstance(tensor["data"], bytes) else encode(tensor["datatype"], flat(tensor["data"]))
        parameters = {**tensor.get("parameters", {}), "binary_data_size": len(tail)}
        inputs.append({**{key: tensor[key] for key in tensor if key != "data"}, "parameters": parameters})
        tails.append(tail)
    head = json.dumps({**document, "inputs": inputs}).encode()
    return b"".join((head, *tails)), len(head)


def read_answer(response: httpx.Response) -> Document:
    """The answer with all data in lists, wherever it came; whatever the protocol says of its form is asserted.

    Optional fields that are null are dropped: one check tells of them, not each that reads an answer.
    """
    assert response.status_code == 200, response.text[:500]
    length = response.headers.get(HEADER_LENGTH)
    head = response.content if length is None else response.content[: int(length)]
    tail = b"" if length is None else response.content[int(length) :]
    answer = without_nulls(json.loads(head))
    answer["outputs"] = [without_nulls(each) for each in answer["outputs"]]
    for tensor in answer["outputs"]:
        size = tensor.get("parameters", {}).pop("binary_data_size", None)
        if size is not None:
            assert "data" not in tensor, "data is sent twice"
            tensor["data"], tail = decode(tensor["datatype"], tail[:size]), tail[size:]
    assert not tail, f"{len(tail)} bytes belong to no output"
    check_answer(answer)
    return answer


def without_nulls(fields: Mapping[str, Any]) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


def check_answer(answer: Mapping[str, Any]) -> None:
    assert isinstance(answer["model_name"], str)
    assert isinstance(answer.get("model_version", ""), str), "an optional text without a value is left out"
    assert isinstance(answer.get("id", ""), str)
    assert isinstance(answer.get("parameters", {}), dict)
    for tensor in answer["outputs"]:
        assert tensor["datatype"] in DATATYPES
        assert len(flat(tensor["data"])) == math.prod(tensor["shape"]), tensor["name"]
        for value in flat(tensor["data"]):
            check_value(tensor["datatype"], value)
        for value in tensor.get("parameters", {}).values():
            assert isinstance(value, str | int | float | bool)


def check_value(datatype: str, value: Any) -> None:
    if datatype == "BYTES":
        assert isinstance(value, str)
    elif datatype == "BOOL":
        assert isinstance(value, bool)
    else:
        assert isinstance(value, int | float) and not isinstance(value, bool)


def check_error(response: httpx.Response, statuses: frozenset[int] = REFUSED) -> str:
    """`$inference_error_response`: an object with the text `error`."""
    assert response.status_code in statuses, f"{response.status_code}: {response.text[:300]}"
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    text = response.json()["error"]
    assert isinstance(text, str) and text.strip()
    return text

"""The server that is checked, and requests made of the one that it is known to answer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.oip.protocol import (
    HEADER_LENGTH,
    INTEGERS,
    NO_JSON_FORM,
    NUMERIC,
    Document,
    Tensor,
    flat,
    in_binary,
    read_answer,
)


@dataclass(frozen=True)
class Target:
    client: httpx.Client
    model: str
    request: Document
    """Of one instance; its data is in the JSON."""
    casts: bool = False
    """Whether each numeric datatype is taken for a number."""
    v1_request: Document | None = None
    grpc: str = ""
    bytes_max: int = 0
    """Of a request: that of our own server, which has two headers of its own too; 0: another server."""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/v2/models/{self.model}"

    def post(self, document: Any, **headers: str) -> httpx.Response:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        sent = {"content-type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
        return self.client.post(f"{self.path}/infer", content=content, headers=sent)

    def post_binary(self, document: Document) -> httpx.Response:
        body, length = in_binary(document)
        headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        return self.client.post(f"{self.path}/infer", content=body, headers=headers)

    def outputs(self, document: Document | None = None) -> dict[str, Any]:
        """The data of each output."""
        return {
            each["name"]: flat(each["data"]) for each in read_answer(self.post(document or self.request))["outputs"]
        }

    def number(self) -> Tensor | None:
        """The first numeric input."""
        return next((each for each in self.request["inputs"] if each["datatype"] in NUMERIC), None)

    def texts(self) -> Tensor | None:
        return next((each for each in self.request["inputs"] if each["datatype"] == "BYTES"), None)

    def with_input(self, tensor: Tensor, **changes: Any) -> Document:
        """The request with one input changed; a field that becomes `...` is left out."""
        changed = {key: value for key, value in {**tensor, **changes}.items() if value is not ...}
        inputs = [changed if each is tensor else each for each in self.request["inputs"]]
        return {**self.request, "inputs": inputs}

    def batch(self, num: int) -> Document:
        """The instance so many times."""
        inputs = [
            {**each, "shape": [num, *each["shape"][1:]], "data": flat(each["data"]) * num}
            for each in self.request["inputs"]
        ]
        return {**self.request, "inputs": inputs}

    def takes(self, datatype: str, *, declared: str, is_json: bool) -> bool:
        """Whether this datatype must be answered; else it may be refused."""
        if datatype in NO_JSON_FORM and is_json:
            return False
        return datatype == declared or (self.casts and datatype in NUMERIC)


def as_datatype(values: Any, datatype: str) -> list[Any]:
    """Numbers as a JSON of this datatype has them."""
    if datatype == "BYTES":
        return [str(value) for value in flat(values)]
    if datatype == "BOOL":
        return [bool(value) for value in flat(values)]
    return [int(value) if datatype in INTEGERS else float(value) for value in flat(values)]


def read_target(config: Any) -> Iterator[Target]:
    """Of the options that the suite was given."""
    url = config.getoption("--oip-url", default=None)
    model, request = config.getoption("--oip-model"), config.getoption("--oip-request")
    assert model and request, "--oip-url needs --oip-model and --oip-request"
    v1_file = config.getoption("--oip-v1")
    with httpx.Client(base_url=url, timeout=30) as client:
        yield Target(
            client,
            model,
            json.loads(Path(request).read_text()),
            casts=config.getoption("--oip-casts"),
            v1_request=json.loads(Path(v1_file).read_text()) if v1_file else None,
            grpc=config.getoption("--oip-grpc") or "",
            metadata=client.get(f"/v2/models/{model}").json(),
        )

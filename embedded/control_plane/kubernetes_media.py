"""What clients send and accept: bodies, content types, options in the query. Wrong ones are refused by name."""

import json
from typing import Any, NoReturn

import yaml
from fastapi import Request
from pydantic import BaseModel, ConfigDict

from embedded.control_plane.serving_errors import ApiError, bad_request

_BODY_BYTES_MAX = 1_500_000
"""As much as etcd takes."""
_TABLE_VERSIONS = ("v1",)
APPLY = "application/apply-patch+yaml"


class Shape(BaseModel):
    """In which form the client wants objects: as they are, as a Table, or their metadata only."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    """"" as they are, Table, PartialObjectMetadata, PartialObjectMetadataList."""
    include: str = "Metadata"


def shape_of(request: Request) -> Shape:
    """The first form of the Accept header that is served; 406 when there is none."""
    accept = request.headers.get("accept") or "*/*"
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        options = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind not in {"application/json", "application/*", "*/*"}:
            continue
        wanted = options.get("as", "")
        if not wanted:
            return Shape()
        is_known = wanted in {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}
        if is_known and options.get("g") == "meta.k8s.io" and options.get("v") in _TABLE_VERSIONS:
            return Shape(name=wanted, include=_include_of(request))
    text = f"only application/json is served, also as=Table;v=v1;g=meta.k8s.io; Accept says {accept}"
    raise ApiError(406, "NotAcceptable", text)


def _include_of(request: Request) -> str:
    value = request.query_params.get("includeObject") or "Metadata"
    if value not in {"None", "Metadata", "Object"}:
        raise bad_request(f"includeObject={value} is not known; use None, Metadata or Object")
    return value


async def read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise ApiError(413, "RequestEntityTooLarge", f"the body is larger than {_BODY_BYTES_MAX} bytes")
    return bytes(body)


async def read_json(request: Request) -> Any:
    kind = content_type_of(request) or "application/json"
    if not kind.endswith("json"):
        raise ApiError(415, "UnsupportedMediaType", f"bodies of type {kind} are not served; send application/json")
    return parse_json(await read_body(request))


def content_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip()


def parse_json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None


def parse_yaml(body: bytes) -> Any:
    """Applied configurations: JSON, or YAML without aliases (which can blow a line up to gigabytes) and dates."""
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(body, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that knows even less
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise bad_request(f"the body is neither JSON nor plain YAML: {error}") from None


class _PlainLoader(yaml.SafeLoader):
    """JSON's types only."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def flag_of(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "")
    if value.lower() not in {"", "0", "1", "true", "false"}:
        raise bad_request(f"{name}={value} is not a yes or no; use true or false")
    return value.lower() in {"1", "true"}


def number_of(request: Request, name: str) -> int | None:
    """A whole number from 0 up, None when it is not given."""
    value = request.query_params.get(name, "")
    if not value:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise bad_request(f"{name}={value} is not a whole number")
    return int(value)


def is_dry_run(request: Request) -> bool:
    value = request.query_params.get("dryRun", "")
    if value not in {"", "All"}:
        raise bad_request(f"dryRun={value} is not known; only All is")
    return value == "All"


def manager_of(request: Request) -> str:
    """Who changes fields: `fieldManager`, else the start of the User-Agent, as in Kubernetes."""
    agent = request.headers.get("user-agent", "").partition("/")[0]
    return request.query_params.get("fieldManager") or agent[:128] or "unknown"

"""What clients send and accept: bodies, content types, options in the query. Wrong ones are refused by name."""

from collections.abc import Iterable

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kubernetes.errors import ApiError, bad_request

_BODY_BYTES_MAX = 1_500_000
"""As much as etcd takes."""
_TABLE_VERSIONS = ("v1",)
APPLY = "application/apply-patch+yaml"
JSON, YAML = "application/json", "application/yaml"
_WARNING_BYTES_MAX, _LONG_WARNING_BYTES_MAX = 4096, 256
"""Of all warnings of one answer; when there are more, of each one. Source: k8s.io/apiserver,
pkg/endpoints/filters/warning.go."""


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


def content_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip()


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
    # Eighteen digits fit into int64, whichever they are.
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
    # As an API server cuts it: a field manager's name has 128 characters at most.
    return request.query_params.get("fieldManager") or agent[:128] or "unknown"


def unsupported(accepted: Iterable[str]) -> ApiError:
    """415. Source: k8s.io/apiserver pkg/endpoints/handlers/negotiation/errors.go."""
    text = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", text)


def render_warnings(warnings: Iterable[str]) -> list[str]:
    """Values of `Warning` headers, each warning once; too many or too long ones are cut, as the server does."""
    each = list(dict.fromkeys(warnings))
    if sum(len(text.encode()) for text in each) > _WARNING_BYTES_MAX:
        each = [text[:_LONG_WARNING_BYTES_MAX] for text in each][: _WARNING_BYTES_MAX // _LONG_WARNING_BYTES_MAX]
    return [f'299 - "{_header_text(text)}"' for text in each]


def _header_text(text: str) -> str:
    """Quoted as RFC 7230 says, without control characters; UTF-8 bytes pass as Starlette's Latin-1."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.encode("utf-8", "replace").decode("latin-1")

"""What requests to the KFP API may carry: JSON bodies as typed values, and texts. Wrong ones are 400, by field."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from embedded.control_plane.engine.loading import MAX_BYTES
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.store import Document
from embedded.control_plane.sound_json import check_sound, read_json
from wire.validation_text import validation_text

BODY_BYTES_MAX = MAX_BYTES + 64 * 1024
"""A pipeline, and what stands around it."""
_TEXT_CHARS_MAX = 100_000
"""Of a description; each list shows it."""


class _Body(BaseModel):
    """Fields that are not named here are ignored, as a cluster ignores them."""

    model_config = ConfigDict(extra="ignore", strict=True)


class ExperimentBody(_Body):
    experiment_id: str | None = None
    display_name: str | None = None
    name: str | None = None
    description: str | None = None
    namespace: str | None = None


class _VersionReference(_Body):
    pipeline_id: str | None = None
    pipeline_version_id: str | None = None


class _RuntimeConfig(_Body):
    parameters: dict[str, Any] | None = None
    pipeline_root: str | None = None


class RunBody(ExperimentBody):
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_reference: _VersionReference | None = None
    runtime_config: _RuntimeConfig | None = None
    service_account: str | None = None


class _Schedule(_Body):
    cron: str | None = None
    interval_second: str | int | None = None
    start_time: str | None = None
    end_time: str | None = None


class _Trigger(_Body):
    cron_schedule: _Schedule | None = None
    periodic_schedule: _Schedule | None = None


class RecurringBody(RunBody):
    mode: str | int | None = None
    no_catchup: bool | None = None
    max_concurrency: str | int | None = None
    trigger: _Trigger | None = None


async def _read_document(request: Request) -> Document:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise DataRejected(
            f"the body has the content type {kind[:60]!r}. Send JSON with `content-type: application/json`."
        )
    body = read_json(await _read_bounded(request), what="the body")
    if not isinstance(body, dict):
        raise DataRejected("the body must be a JSON object. Correct it and send it again.")
    return body


JsonBody = Annotated[Document, Depends(_read_document)]
"""The JSON object of a request, as it was sent: plain values only, bounded in size and depth."""


async def _read_bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise DataRejected(f"the body has more than {BODY_BYTES_MAX:,} bytes. Send less.")
    return bytes(body)


def check_fields(body: Document, kind: type[BaseModel]) -> None:
    """DataRejected names the first field that has another type than the API's."""
    try:
        kind.model_validate(body)
    except ValidationError as error:
        text = validation_text(error, value=body, whole="the body", kind=kind)
        raise DataRejected(f"{text}. Correct the request.") from None


def check_texts(texts: Mapping[str, str]) -> None:
    """DataRejected names the first text that cannot be kept."""
    for name, text in texts.items():
        check_sound(text, where=name)
        if len(text) > _TEXT_CHARS_MAX:
            raise DataRejected(f"{name} has {len(text):,} characters; the limit is {_TEXT_CHARS_MAX:,}.")

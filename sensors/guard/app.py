"""The guard's HTTP side: is it alive, what did it see, and the true labels that users send."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from ratchet.actions.rollout.feedback import accept_feedback
from ratchet.core.errors import DataRejected, RatchetError
from ratchet.core.labels.schema import OutputSpec
from ratchet.core.ports import FeedbackStore
from ratchet.core.rollout.feedback import parse_feedback
from sensors.guard.loop import GuardLoop
from sensors.guard.metrics import GuardMetrics
from sensors.guard.sweeping import SweepLoop
from wire.callers import is_authorized
from wire.heartbeat import problem_in
from wire.strict_json import NotJson, parse_json
from wire.validation_text import found_text

# Both, and 3 s for requests (sensors/service.py), stay within the 15 s from SIGTERM to SIGKILL (embedded/planning.py).
STOP_WITHIN_S = 8.0
_SWEEP_STOP_S = 2.0
BODY_BYTES_MAX = 1 << 20
"""A thousand items have some 100 bytes each."""


@dataclass(frozen=True)
class GuardApp:
    """What the routes work on."""

    loop: GuardLoop
    list_tasks: Callable[[], Sequence[str]]
    output_of: Callable[[str], OutputSpec]
    feedback: Callable[[], FeedbackStore]
    token: str = field(default="", repr=False)
    """Of those who may see its status or send feedback; the gateway adds it to its users' feedback."""
    metrics: GuardMetrics = field(default_factory=GuardMetrics)
    sweeping: SweepLoop | None = None
    """Deletes records whose time is over; None where nothing is to be deleted."""


def make_app(service: GuardApp) -> FastAPI:
    """The app; the loop runs while it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.loop.start()
        if service.sweeping:
            service.sweeping.start()
        yield
        if service.sweeping:
            service.sweeping.stop(timeout_s=_SWEEP_STOP_S)
        service.loop.stop(timeout_s=STOP_WITHIN_S)

    app = FastAPI(title="Ratchet guard", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _add_health(app, service)
    _add_views(app, service)
    _add_feedback(app, service)
    return app


def _token_check(service: GuardApp) -> Any:
    """A dependency of the routes that need the token, where there is one; health and numbers are open."""

    def check_token(request: Request) -> None:
        if not is_authorized(request.headers.get("authorization", ""), token=service.token):
            raise HTTPException(
                401,
                "Send the guard's token: `Authorization: Bearer <RATCHET_GUARD_TOKEN>`, or feedback to the gateway.",
                headers={"WWW-Authenticate": 'Bearer realm="ratchet-guard", Basic realm="ratchet-guard"'},
            )

    return Depends(check_token)


def _add_health(app: FastAPI, service: GuardApp) -> None:
    def problem() -> str:
        sweeping = (service.sweeping.heartbeat,) if service.sweeping else ()
        return problem_in((service.loop.heartbeat, *sweeping))

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        """200 while every loop turns, whatever is down around it; else which one stands still."""
        if standing := problem():
            return JSONResponse({"alive": False, "problem": standing}, status_code=503)
        return JSONResponse({"alive": True})

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """200 when the last look at every task could see something."""
        failing = {task: seen.reason for task, seen in service.loop.newest().items() if seen.outcome == "error"}
        standing = problem()
        is_ready = not failing and not standing
        told = {"ready": is_ready, "failing": failing, **({"problem": standing} if standing else {})}
        return JSONResponse(told, status_code=200 if is_ready else 503)


def _add_views(app: FastAPI, service: GuardApp) -> None:
    check = _token_check(service)

    @app.get("/status", dependencies=[check])
    def status() -> dict[str, Any]:
        newest = service.loop.newest()
        return {"tasks": [newest[task].model_dump(mode="json") for task in sorted(newest)]}

    @app.get("/space", dependencies=[check])
    def space() -> JSONResponse:
        """What each kind of record takes in the object store, as measured last; null before the first time."""
        measured = service.sweeping.space() if service.sweeping else None
        return JSONResponse(measured.model_dump(mode="json") if measured else None)

    @app.get("/metrics")
    def metrics() -> Response:
        swept = service.sweeping.render_metrics() if service.sweeping else b""
        return Response(service.metrics.render() + swept, media_type=CONTENT_TYPE_LATEST)


def _add_feedback(app: FastAPI, service: GuardApp) -> None:
    @app.post("/v1/feedback", status_code=202, dependencies=[_token_check(service)])
    async def feedback(request: Request) -> dict[str, Any]:
        """`{"task", "feedback": [{"request_id", "instance", "label"}, …]}`; answered once it is stored."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # A web page may send any other type without asking first.
            raise _refusal(415, "Send feedback with `content-type: application/json`.", service)
        body = _parse_json(await _read_body(request, service), service)
        try:
            return await run_in_threadpool(_accept, body, service)
        except DataRejected as error:
            raise _refusal(400, str(error), service) from None
        except RatchetError as error:
            raise _refusal(503, f"{error} Nothing of this request was kept: send it again.", service) from None


async def _read_body(request: Request, service: GuardApp) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise _refusal(413, f"{BODY_BYTES_MAX:,} bytes are allowed at once. Send it in parts.", service)
    return body


def _parse_json(body: bytes, service: GuardApp) -> dict[str, Any]:
    try:
        value = parse_json(body)
    except NotJson as error:
        raise _refusal(400, f"The body cannot be read: {error}. Correct it and send it again.", service) from None
    if not isinstance(value, dict):
        raise _refusal(400, 'The body must be {"task": "…", "feedback": [{"request_id", "label"}, …]}.', service)
    return value


def _accept(body: dict[str, Any], service: GuardApp) -> dict[str, Any]:
    task, known = body.pop("task", None), service.list_tasks()
    if task is None and len(known) == 1:
        task = known[0]
    if task not in known:
        expected = ", ".join(known) or "none"
        raise DataRejected(f"`task` must be one of {expected}, found {found_text(task)}. Send it again with it.")
    items = parse_feedback(body, output=service.output_of(task), now=datetime.now(UTC))
    num = accept_feedback(service.feedback(), task, items)
    service.metrics.note_feedback(task, num)
    return {"task": task, "num_accepted": num}


def _refusal(status: int, text: str, service: GuardApp) -> HTTPException:
    service.metrics.note_refused(status)
    return HTTPException(status, text)

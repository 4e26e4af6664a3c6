"""The sensor's HTTP side: is it alive, what did it see, what does Prometheus want to know, and "look now"."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from sensors.label_sensor.events import BODY_BYTES_MAX, Hints, Malformed, read_hints
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.metrics import SensorMetrics
from wire.callers import is_authorized
from wire.heartbeat import Heartbeat, problem_in

STOP_WITHIN_S = 8.0
"""A tick takes well under a second; with a server down, until that server's timeout."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class SensorApp:
    """What the routes work on."""

    loop: SensorLoop
    list_tasks: Callable[[], Sequence[str]]
    labels_bucket: str = "labels"
    token: str = field(default="", repr=False)
    """Of those who may see its status and make it look: empty on the loopback interface only."""
    metrics: SensorMetrics = field(default_factory=SensorMetrics)
    at_start: Callable[[], None] = _nothing
    at_stop: Callable[[], None] = _nothing
    """After the last tick."""
    heartbeats: Sequence[Heartbeat] = ()
    """Of the loops beside the ticks."""


def make_app(service: SensorApp) -> FastAPI:
    """The app; the loop runs while it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.at_start()
        service.loop.start()
        yield
        service.loop.stop(timeout_s=STOP_WITHIN_S)
        service.at_stop()

    app = FastAPI(title="Ratchet label sensor", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _add_health(app, service)
    check = _token_check(service)
    _add_views(app, service, check)
    _add_orders(app, service, check)
    return app


def _add_health(app: FastAPI, service: SensorApp) -> None:
    loop = service.loop

    def problem() -> str:
        return problem_in((*loop.heartbeats, *service.heartbeats))

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        """200 while every loop turns, whatever is down around it; else which one stands still."""
        if standing := problem():
            return JSONResponse({"alive": False, "problem": standing}, status_code=503)
        return JSONResponse({"alive": True})

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """200 when the last tick of every task could decide something."""
        failing = {task: report.reason for task, report in loop.newest().items() if report.outcome == "error"}
        standing = problem()
        is_ready = loop.has_looked and not failing and not standing
        told = {"ready": is_ready, "failing": failing, **({"problem": standing} if standing else {})}
        return JSONResponse(told, status_code=200 if is_ready else 503)


def _token_check(service: SensorApp) -> Any:
    """A dependency of the routes that need the token, where there is one; health and numbers are open."""

    def check_token(request: Request) -> None:
        if not is_authorized(request.headers.get("authorization", ""), token=service.token):
            if request.url.path == "/events":
                service.metrics.note_request(401)
            raise HTTPException(
                401,
                "Send the sensor's token: `Authorization: Bearer <RATCHET_SENSOR_TOKEN>`.",
                headers={"WWW-Authenticate": 'Bearer realm="ratchet-sensor", Basic realm="ratchet-sensor"'},
            )

    return Depends(check_token)


def _add_views(app: FastAPI, service: SensorApp, check: Any) -> None:
    @app.get("/status", dependencies=[check])
    def status() -> dict[str, Any]:
        told = (_status_of(service.loop, task) for task in sorted(service.loop.newest()))
        return {"tasks": [each for each in told if each]}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _add_orders(app: FastAPI, service: SensorApp, check: Any) -> None:
    """What makes the sensor look."""

    @app.post("/tick", status_code=202, dependencies=[check])
    def tick(task: str) -> dict[str, Any]:
        """A hint. `tick` is the number of the tick that answers it: `num_ticks` of /status reaches it."""
        known = service.list_tasks()
        if task not in known:
            raise HTTPException(404, f"There is no task {task!r}; known: {', '.join(known) or 'none'}.")
        return {"task": task, "tick": service.loop.hint(task)}

    @app.post("/events", status_code=202, dependencies=[check])
    async def events(request: Request) -> dict[str, Any]:
        """Notifications of the object store. Whatever they say, the listing decides what there is."""
        hints = await _read_request(request, service)
        for task in hints.tasks:
            service.loop.hint(task)
        service.metrics.note_request(202)
        service.metrics.note_hints(hints.tasks, num_ignored=hints.num_ignored)
        return {"tasks": list(hints.tasks)}


async def _read_request(request: Request, service: SensorApp) -> Hints:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            service.metrics.note_request(413)
            raise HTTPException(413, f"A notification has {BODY_BYTES_MAX:,} bytes at most.")
    try:
        return read_hints(body, bucket=service.labels_bucket, tasks=service.list_tasks())
    except Malformed as error:
        service.metrics.note_request(400)
        raise HTTPException(400, f"Not a notification: {error}.") from None


def _status_of(loop: SensorLoop, task: str) -> dict[str, Any]:
    """Empty for a task that is gone since."""
    history = [entry.as_row() for entry in loop.history(task)]
    if not history:
        return {}
    return {"num_ticks": loop.num_ticks(task), **history[0], "task": task, "history": history}

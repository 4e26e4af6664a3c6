"""The sensor's HTTP side: is it alive, what did it see, and "look now"."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

from sensors.label_sensor.loop import SensorLoop

STOP_WITHIN_S = 8.0
"""A tick takes well under a second; with a server down, until that server's timeout."""


def make_app(loop: SensorLoop, list_tasks: Callable[[], Sequence[str]]) -> FastAPI:
    """The app; the loop runs while it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loop.start()
        yield
        loop.stop(timeout_s=STOP_WITHIN_S)

    app = FastAPI(title="Ratchet label sensor", lifespan=lifespan)

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        """200 while the loop lives, whatever is down around it."""
        return JSONResponse({"alive": loop.is_alive}, status_code=200 if loop.is_alive else 503)

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """200 when the last tick of every task could decide something."""
        failing = {task: report.reason for task, report in loop.newest().items() if report.outcome == "error"}
        is_ready = loop.is_alive and loop.has_looked and not failing
        return JSONResponse({"ready": is_ready, "failing": failing}, status_code=200 if is_ready else 503)

    @app.get("/status")
    def status() -> dict[str, Any]:
        newest = loop.newest()
        return {"tasks": [_status_of(loop, task) for task in sorted(newest)]}

    @app.post("/tick", status_code=202)
    def tick(task: str) -> dict[str, Any]:
        """A hint. `tick` is the number of the tick that answers it: `num_ticks` of /status reaches it."""
        if task not in list_tasks():
            raise HTTPException(404, f"There is no task {task!r}; known: {', '.join(list_tasks()) or 'none'}.")
        return {"task": task, "tick": loop.hint(task)}

    return app


def _status_of(loop: SensorLoop, task: str) -> dict[str, Any]:
    history = [report.model_dump(mode="json", exclude={"task"}) for report in loop.history(task)]
    return {"task": task, "num_ticks": loop.num_ticks(task), **history[0], "history": history}

"""Label Studio's contract of an ML backend over HTTP: `/health`, `/setup`, `/versions`, `/predict`.

Nothing here starts a training or imports a label: what a labelling tool exports is the truth.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool

from ratchet.actions.labels.prefilling import Prefiller
from ratchet.core.errors import DataRejected
from wire.callers import TokenOnly
from wire.strict_json import NotJson, parse_json
from wire.validation_text import found_text

TASKS_MAX = 1_000
"""In one request; Label Studio sends at most 100 at once unless it is told otherwise."""
_BODY_BYTES_MAX = 16 << 20
"""As of every request to our servers (`wire.request_limits`)."""
_log = logging.getLogger(__name__)


def make_app(prefiller: Prefiller, *, token: str) -> FastAPI:
    """The token is the password that Label Studio sends (Basic), or a bearer token; `/health` is open."""
    app = FastAPI(title="Ratchet for Label Studio", docs_url=None, redoc_url=None, openapi_url=None)
    advice = "Send the token of `ratchet labels backend` as the password of basic authentication (any user name)."
    app.add_middleware(TokenOnly, token=token, open_paths=("/health", "/"), advice=advice)
    _add_about(app, prefiller)
    _add_predict(app, prefiller)
    return app


def _add_about(app: FastAPI, prefiller: Prefiller) -> None:
    @app.get("/")
    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "Ratchet"}

    @app.get("/versions")
    def versions() -> dict[str, list[str]]:
        return {"versions": [prefiller.model] if prefiller.model else []}

    @app.post("/setup")
    async def setup(request: Request) -> dict[str, str]:
        """Refuses a labelling interface that cannot show the answers, while a person connects the backend."""
        body = await _read_object(request)
        schema = body.get("schema")
        if isinstance(schema, str) and schema.strip():  # a new project has none yet
            try:
                prefiller.check_interface(schema)
            except DataRejected as error:
                raise HTTPException(400, str(error)) from None
        return {"model_version": prefiller.model or "champion"}


def _add_predict(app: FastAPI, prefiller: Prefiller) -> None:
    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        """A prediction a task. Without a model, or a gateway, they are empty, and `problem` says why."""
        body = await _read_object(request)
        tasks, label_config = _tasks_in(body), body.get("label_config")
        if not isinstance(label_config, str):
            raise HTTPException(
                400, f"`label_config` must be the labelling interface, found {found_text(label_config)}."
            )
        made = await run_in_threadpool(prefiller.prefill, tasks, label_config)
        num_empty = sum(not each["result"] for each in made.results) - made.num_blind
        if made.problem:
            _log.warning("%d of %d tasks have no answer: %s", num_empty, len(tasks), made.problem)
        return {"results": made.results, **({"problem": made.problem} if made.problem else {})}


def _tasks_in(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not 1 <= len(tasks) <= TASKS_MAX:
        raise HTTPException(400, f"`tasks` must be a list of 1 to {TASKS_MAX:,} tasks, found {found_text(tasks)}.")
    for number, task in enumerate(tasks):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise HTTPException(400, f"`tasks[{number}]` must be an object with `data`, found {found_text(task)}.")
    return tasks


async def _read_object(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise HTTPException(413, f"{_BODY_BYTES_MAX:,} bytes are allowed at once. Send fewer tasks.")
    try:
        value = parse_json(body)
    except NotJson as error:
        raise HTTPException(400, f"The body is {error}. Send a JSON object.") from None
    if not isinstance(value, dict):
        raise HTTPException(400, f"The body must be a JSON object, found {found_text(value)}.")
    return value

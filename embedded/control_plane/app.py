"""The control plane as one ASGI application: the KFP API with its engine, the Kubernetes API for serving, training."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.engine.attempt import Folders
from embedded.control_plane.engine.engine import Engine
from embedded.control_plane.engine.loading import MAX_BYTES
from embedded.control_plane.engine.log_cap import MIB, LogCap
from embedded.control_plane.engine.warm_steps import WarmSteps
from embedded.control_plane.kfp.api import router_of
from embedded.control_plane.kfp.docs import serve_docs
from embedded.control_plane.kfp.errors import answer_errors, error_answer
from embedded.control_plane.kfp.experiments import experiment_id_for
from embedded.control_plane.kfp.page import serve_page
from embedded.control_plane.kfp.schedule import Schedule
from embedded.control_plane.kfp.store import Store
from embedded.control_plane.kfp.sweep import Sweep
from embedded.control_plane.kfp.token import KfpTokenOnly
from embedded.control_plane.kserve.serving import ServingSide
from embedded.control_plane.trainer.training import TrainingSide
from wire.callers import foreign_header
from wire.heartbeat import problem_in

_MAX_BODY_BYTES = MAX_BYTES + 64 * 1024
"""The largest pipeline, and the multipart form around it."""


def create_app(config: ControlPlaneConfig) -> FastAPI:
    """Open the store and wire both sides. What runs starts and stops with the application's lifespan."""
    store = Store(config.data_dir / "pipelines.db")
    experiment_id_for(store, None)  # from the start, as on a cluster: clients that begin at once would each make it
    folders = Folders(
        data_dir=config.data_dir,
        secrets_dir=config.secrets_dir,
        project_dir=config.project_dir,
        engine_id=_engine_id(config),
        container_engine=config.container_engine,
        warm=_warm_steps(config) if config.warm_modules else None,
    )
    engine = Engine(store, folders, is_lenient=config.is_lenient)
    schedule = Schedule(store, engine, zone=config.cron_timezone)
    sweep = Sweep(store, folders, config.retention)
    log_cap = LogCap(config.log_limit_mib * MIB)
    serving = ServingSide(config)
    training = TrainingSide(config, serving.core)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log_cap.loop.start()  # before the engine: a task that goes on from before may print at once
        engine.start()
        schedule.loop.start()
        sweep.loop.start()
        await serving.start()
        await training.start()
        try:
            yield
        finally:
            # What begins or removes runs stops first, the log cap last: tasks print until the engine has ended them.
            schedule.loop.stop()
            sweep.loop.stop()
            await training.stop()  # its objects are in the store that the serving side closes
            await serving.stop()
            engine.stop()
            if folders.warm:
                folders.warm.close()
            log_cap.loop.stop()
            store.close()

    app = FastAPI(title="Ratchet control plane", lifespan=lifespan, docs_url=None, redoc_url=None)

    loops = (schedule.loop, sweep.loop, log_cap.loop)
    heartbeats = (engine.heartbeat, serving.heartbeat, training.heartbeat, *(loop.heartbeat for loop in loops))

    @app.get("/readyz", tags=["health"])
    @app.get("/healthz", tags=["health"])
    def healthz() -> JSONResponse:
        """503 with the loops that stand still. `engine` is there while it pauses: models are served all the same."""
        pause = {"engine": engine.room.problem} if engine.room.problem else {}
        if problem := problem_in(heartbeats):
            return JSONResponse({"status": "ill", "problem": problem, **pause}, status_code=503)
        return JSONResponse({"status": "ok", **pause})

    answer_errors(app)
    app.include_router(router_of(store, engine, folders))
    app.include_router(serving.router(training.stored(), training.routes()))
    serve_docs(app)
    serve_page(app, store, needs_token=bool(config.kfp_token))
    if config.kfp_token:
        app.add_middleware(KfpTokenOnly, token=config.kfp_token)
    # Added last, so it runs first: Starlette puts the newest middleware outermost.
    app.add_middleware(LocalRequestsOnly)
    return app


class LocalRequestsOnly:
    """Refuses what a web page could send here through a person's browser: foreign hosts, foreign origins, huge bodies.

    A server started without a KFP token asks for none there, and a caller that may upload a pipeline may run code.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := _refusal_of(scope["headers"])):
            await error_answer(*refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _refusal_of(headers: list[tuple[bytes, bytes]]) -> tuple[int, int, str] | None:
    """Status, code and message, or None when the request may pass."""
    if foreign := foreign_header(headers):
        return 403, 7, foreign
    length = dict(headers).get(b"content-length", b"0").decode("latin-1")
    if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
        return 413, 3, f"The request has {length} bytes; the limit is {_MAX_BODY_BYTES}."
    return None


def _warm_steps(config: ControlPlaneConfig) -> WarmSteps:
    return WarmSteps(
        config.warm_modules,
        config.warm_variables,
        project_dir=config.project_dir,
        engine_id=_engine_id(config),
        log_path=config.data_dir / "warm_steps.log",
    )


def _engine_id(config: ControlPlaneConfig) -> str:
    """Names this data folder for ever, so that a restarted server knows the processes of the one before."""
    path = config.data_dir / "engine_id"
    if not path.exists():
        config.data_dir.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(uuid.uuid4().hex)
        unfinished.replace(path)  # a kill in the middle of a write would leave an empty name, which all folders share
    return path.read_text().strip()

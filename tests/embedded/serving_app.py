"""The serving side alone, as a process: `python -m tests.embedded.serving_app CONFIG.json`; mounted as in app.py."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.kserve.serving import ServingSide


def app_of(config: ControlPlaneConfig) -> FastAPI:
    side = ServingSide(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await side.start()
        yield
        await side.stop()

    app = FastAPI(lifespan=lifespan)
    app.include_router(side.router())
    return app


if __name__ == "__main__":
    config = ControlPlaneConfig.model_validate_json(Path(sys.argv[1]).read_text())
    uvicorn.run(app_of(config), host="127.0.0.1", port=config.port, log_level="info", access_log=False)

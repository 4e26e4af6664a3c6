"""How a sensor, or the guard, runs as a service: JSON logs without secrets, a quiet uvicorn, a bounded stop."""

from fastapi import FastAPI
from pydantic import SecretStr

from ratchet.settings import Settings
from sensors.json_logs import log_as_json
from wire.callers import LoopbackOnly
from wire.loopback import is_loopback
from wire.request_limits import serve_limited

_STOP_S_MAX = 3
"""For requests under way; what the app's lifespan stops has its own limit."""


def serve(app: FastAPI, settings: Settings, *, host: str, port: int) -> None:
    """Answer until SIGTERM, on loopback to callers on this machine. No value of a secret setting gets into the log."""
    log_as_json(secrets=[value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)])
    serve_limited(
        LoopbackOnly(app) if is_loopback(host) else app,
        host=host,
        port=port,
        log_level="warning",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_STOP_S_MAX,
    )

"""The model server: HTTP by uvicorn, and gRPC where it is asked for, in one event loop."""

import torch
import uvicorn
import uvloop

from ratchet.serving.http_app import HttpApp
from ratchet.serving.model import ServedModel
from ratchet.serving.overload import RequestsUnderWay
from wire.request_limits import RequestLimits, limited

# The control plane gives a model server 12 s from SIGTERM to SIGKILL (embedded/control_plane/kserve/replica.py).
_GRACE_S = 10
_GRPC_GRACE_S = 1.0
"""After those of HTTP have ended."""
_KEEP_ALIVE_S = 65
"""Of an idle connection, as KServe's server keeps it: a little longer than most proxies do, so that they close it."""
_LIMITS = RequestLimits(connections_max=4096, body_bytes_max=64 * 1024 * 1024)
"""Envoy opens a connection for each request under way, 4,096 at most; through it a body has 4 MiB."""


def serve(model: ServedModel, *, host: str, port: int, digest: str, grpc_port: int = 0) -> None:
    """Answer until SIGTERM, then finish what has begun. The model must be loaded. grpc_port: 0: HTTP alone."""
    # Passes of small models run in this thread; the cores are for the other revisions.
    torch.set_num_threads(1)
    under_way = RequestsUnderWay()
    server = make_server(model, host=host, port=port, digest=digest, under_way=under_way)
    if not grpc_port:
        uvloop.run(server.serve())
        return
    uvloop.run(_serve_both(server, model, under_way, host=host, grpc_port=grpc_port, digest=digest))


async def _serve_both(
    rest: uvicorn.Server, model: ServedModel, under_way: RequestsUnderWay, *, host: str, grpc_port: int, digest: str
) -> None:
    """gRPC answers first: readiness is asked for over HTTP."""
    from ratchet.serving.grpc_server import InferenceService, start_grpc  # 10 MiB that most servers do without

    service = InferenceService(model, under_way, digest=digest)
    server = await start_grpc(service, host=host, port=grpc_port, limits=_LIMITS)
    try:
        await rest.serve()
    finally:
        await server.stop(grace=_GRPC_GRACE_S)


def make_server(
    model: ServedModel, *, host: str, port: int, digest: str, under_way: RequestsUnderWay | None = None
) -> uvicorn.Server:
    """Ready to start."""
    app = HttpApp(model, digest=digest, bytes_max=_LIMITS.body_bytes_max, under_way=under_way)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        interface="asgi3",
        lifespan="off",
        http=limited(_LIMITS),
        ws="none",
        log_config=None,
        access_log=False,  # the gateway counts requests already
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return uvicorn.Server(config)

"""`GET …/pods/{name}/log`: what a node of a TrainJob printed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.errors import bad_request, not_found
from embedded.control_plane.kubernetes.kinds import PODS
from embedded.control_plane.kubernetes.media import flag_of, number_of
from embedded.control_plane.trainer.nodes import NodeProcesses
from embedded.control_plane.trainer.plan import NODE

_CHUNK_BYTES = 64 * 1024
_LOOK_S = 0.3
"""Between two looks at a log that is followed. A person does not notice it."""
_REFUSED = ("previous", "timestamps", "sinceSeconds", "sinceTime")
Endpoint = Callable[[Request], Awaitable[Response]]


def log_route(core: CoreObjects, nodes: NodeProcesses) -> tuple[str, str, Endpoint]:
    """The log of all starts of a node, in one; a cluster shows the newest start's."""

    async def read(request: Request) -> Response:
        namespace, name = request.path_params["namespace"], request.path_params["name"]
        pod = core.fetch(PODS, namespace, name)
        if pod is None:
            raise not_found(PODS, name)
        for option in _REFUSED:
            if request.query_params.get(option) not in (None, "", "false", "0"):
                raise bad_request(f"{option} cannot be honoured here: the log has no times and holds all starts")
        if (container := request.query_params.get("container", NODE)) != NODE:
            raise bad_request(f"container {container} is not valid for pod {name}")
        path = nodes.log_path(pod["metadata"]["uid"])
        start = _tail_start(path, number_of(request, "tailLines"))
        if flag_of(request, "follow"):
            return StreamingResponse(_follow(core, namespace, name, path, start), media_type="text/plain")
        text = path.read_bytes()[start:] if path.exists() else b""
        limit = number_of(request, "limitBytes")
        return PlainTextResponse(text if limit is None else text[:limit])

    return f"{PODS.root}/namespaces/{{namespace}}/{PODS.plural}/{{name}}/log", "GET", read


def _tail_start(path: Path, num_lines: int | None) -> int:
    """Where the last lines begin; 0 for all of them."""
    if num_lines is None or not path.exists():
        return 0
    text = path.read_bytes()
    place = len(text) - text.endswith(b"\n")
    for _ in range(num_lines):
        place = text.rfind(b"\n", 0, max(place, 0))
        if place < 0:
            return 0
    return place + 1 if num_lines else len(text)


async def _follow(core: CoreObjects, namespace: str, name: str, path: Path, start: int) -> AsyncIterator[bytes]:
    """Until the node has ended for good, or its pod is gone; or the client goes, which closes this."""
    while True:
        pod = core.fetch(PODS, namespace, name)
        is_over = pod is None or pod["status"]["phase"] in ("Succeeded", "Failed")
        if path.exists():
            with path.open("rb") as file:
                file.seek(start)
                while part := file.read(_CHUNK_BYTES):
                    start += len(part)
                    yield part
        if is_over:
            return
        await asyncio.sleep(_LOOK_S)

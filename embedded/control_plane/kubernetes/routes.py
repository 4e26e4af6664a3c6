"""What all routes of the Kubernetes API share: the token, `Status` errors, an answer for what is not served."""

import base64
import hmac
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.routing import Match, compile_path
from starlette.types import Scope

from embedded.control_plane.kubernetes.errors import ApiError

log = logging.getLogger(__name__)
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_PIPELINES = "/apis/v2beta1"
"""The KFP API lies below /apis too, asks for no token, and has errors of its own."""


def route_class(token: str) -> type[APIRoute]:
    """Routes that ask for the token first, and answer every error as a Status."""
    expected = token.encode()

    class KubernetesRoute(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            if scope["type"] == "http" and scope["path"].startswith(_PIPELINES):
                return Match.NONE, {}
            return super().matches(scope)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def authorized(request: Request) -> Response:
                try:
                    given = given_token(request.headers.get("authorization", "")).encode()
                    if not token or not hmac.compare_digest(given, expected):
                        raise ApiError(401, "Unauthorized", "Unauthorized: the bearer token is missing or wrong")
                    return await handle(request)
                except ApiError as error:
                    return answer_of(error)
                except ClientDisconnect:
                    raise
                except Exception as error:
                    log.exception("%s %s", request.method, request.url.path)
                    text = f"{type(error).__name__}: {error}. `ratchet logs control_plane` shows more"
                    return answer_of(ApiError(500, "InternalError", text))

            return authorized

    return KubernetesRoute


def is_kubernetes(path: str) -> bool:
    """Whether a path is of this API, also where none of its routes takes it: a line break in it, for instance."""
    return path.startswith(("/api/", "/apis/", "/openapi/")) and not path.startswith(_PIPELINES)


def given_token(authorization: str) -> str:
    """The token of a Bearer header, or the password of a Basic one; "" for anything else.

    kubectl sends no token over plain HTTP (client-go reads credentials for TLS only), but Go sends the user and
    password of a URL: hence `server: http://ratchet:TOKEN@127.0.0.1:PORT` in the kubeconfig.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def answer_of(error: ApiError) -> Response:
    return JSONResponse(error.as_status(), status_code=error.code, headers=dict(error.headers))


def unserved(routes: Iterable[tuple[str, str]]) -> tuple[Callable[[Request], Awaitable[Response]], list[str]]:
    """The answer to what no route takes, and the methods to register it for: 405 when the path is served with other
    methods, else 404."""
    known = [(compile_path(path)[0], method) for path, method in routes]

    async def refuse(request: Request) -> Response:
        path = request.url.path
        allowed = sorted({method for pattern, method in known if pattern.match(path)})
        if allowed:
            text = f"the server does not allow {request.method} on {path}; it allows {', '.join(allowed)}"
            raise ApiError(405, "MethodNotAllowed", text, headers={"allow": ", ".join(allowed)})
        raise ApiError(404, "NotFound", f"the server could not find the requested resource: {request.method} {path}")

    return refuse, list(_METHODS)

"""The optional bearer token of the KFP API: `kfp.Client(host=…, existing_token=…)` sends it."""

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from embedded.control_plane.kfp.errors import KFP_PREFIX, error_answer

_UNAUTHENTICATED = 16  # of gRPC
_MESSAGE = (
    "This KFP API requires a bearer token, and the request has {}. "
    "Use kfp.Client(host=..., existing_token=...) with the token in the server's --kfp-token-file."
)


class KfpTokenOnly:
    """Answers 401 to every request for the KFP API that does not carry the token; other paths pass."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self.app = app
        self._wanted = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(KFP_PREFIX):
            headers = dict(scope["headers"])
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            # compare_digest takes the same time for any wrong token, so the time tells nothing of the right one.
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._wanted):
                message = _MESSAGE.format("another one" if given else "none")
                answer = error_answer(401, _UNAUTHENTICATED, message)
                answer.headers["www-authenticate"] = "Bearer"
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)

"""Who may call: the checks that all of our servers share."""

import asyncio
import base64

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from wire.callers import LoopbackOnly, TokenOnly, foreign_header, is_authorized


def basic(text: bytes) -> str:
    return f"Basic {base64.b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("header", "may"),
    [
        pytest.param("Bearer s3cret", True, id="bearer"),
        pytest.param("s3cret", True, id="the-token-alone"),
        pytest.param(basic(b"me:s3cret"), True, id="browser"),
        pytest.param(basic(b"s3cret:"), False, id="token-as-name"),
        pytest.param(basic(b"me:\xff"), False, id="password-that-is-no-text"),
        pytest.param("Basic s3cret", False, id="basic-that-is-no-base64"),
        pytest.param("Bearer", False, id="nothing"),
        pytest.param("", False, id="no-header"),
        pytest.param("Bearer s3cre\xe9", False, id="no-ascii"),
    ],
)
def test_the_token_is_taken_in_every_form_of_a_client_and_in_no_other(header: str, may: bool) -> None:
    assert is_authorized(header, token="s3cret") is may


@pytest.mark.parametrize(
    ("name", "value", "is_own"),
    [
        (b"host", b"127.0.0.1:18900", True),
        (b"Host", b"localhost", True),
        (b"host", b"[::1]:80", True),
        (b"origin", b"http://localhost:3000", True),
        (b"host", b"127.0.0.1.evil.example", False),
        (b"host", b"[", False),
        (b"host", b"\xff", False),
        (b"host", b"", False),
        (b"origin", b"null", False),
        (b"origin", b"https://evil.example", False),
        (b"ORIGIN", b"https://127.0.0.1@evil.example", False),
    ],
)
def test_a_request_that_names_another_machine_is_foreign(name: bytes, value: bytes, is_own: bool) -> None:
    assert (not foreign_header([(b"host", b"127.0.0.1"), (name, value), (b"accept", b"*/*")])) is is_own


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def status_of(path: str, headers: dict[str, str]) -> int:
    app = LoopbackOnly(TokenOnly(hello, token="s3cret", open_paths={"/health"}, advice="Send it."))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return (await client.get(path, headers=headers)).status_code


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/health", {}, 200),
        ("/health", {"host": "evil.example"}, 403),
        ("/healthy", {}, 401),
        ("/", {"authorization": "Bearer s3cret"}, 200),
        ("/", {"authorization": "Bearer s3cret", "origin": "null"}, 403),
    ],
)
def test_only_the_open_paths_need_no_token(path: str, headers: dict[str, str], status: int) -> None:
    assert asyncio.run(status_of(path, headers)) == status

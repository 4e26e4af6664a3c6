"""The body of a request, as ASGI gives it."""

from starlette.types import Message, Receive


async def read_body(receive: Receive) -> bytes | None:
    """None when the client has gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def receive_again(body: bytes, receive: Receive) -> Receive:
    """For an application behind: the body as one message; then whatever the client does, such as going away."""
    is_sent = False

    async def receive_plain() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_plain

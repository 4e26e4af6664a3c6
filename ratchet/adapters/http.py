"""Every HTTP request that we make ourselves: one client, one bounded retry, one table of errors (http_errors.py).

A request has a deadline that holds for all its tries and waits, and its answer a size limit. A redirect is never
followed and the environment's proxies are never used. A request is tried again when its connection was refused, or when
it is repeatable and its connection broke or the server answered that it is busy. Repeatable are idempotent methods, and
others whose caller says so, because the request carries a key of its own. No error holds a credential.

Loops that look alike and stay where they are:

* clients of others retry by themselves, bounded: botocore (s3.py), MLflow's (mlflow.py, by its variables), kfp's
  generated API (kfp_client.py takes its waits from `Retry`);
* `git.py` and `kserve_standard.py` repeat a change that lost against another writer's: a compare-and-swap that looks
  again each time, not the same request;
* `model_server.py` and waits for a state (`sensor_service.tick`, `kserve_objects.wait_gone`) poll until something is
  so, under a deadline of their own.

httpx is imported with the first request: that takes 0.07 s.
"""

import re
import ssl
import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ratchet.adapters.http_deadline import ending_at, with_deadline
from ratchet.adapters.http_errors import Peer, error_of_status, said_in, shown_url
from ratchet.adapters.http_retry import ONCE, Failure, Request, Response, Retry, asked_wait_s
from ratchet.adapters.tls import SYSTEM_TRUST, Trust, context_of, explain
from ratchet.core.errors import DataRejected, RatchetError, SettingsError, Unavailable

if TYPE_CHECKING:
    import httpx

__all__ = ["ONCE", "HttpClient", "Peer", "Request", "Response", "Retry", "bearer_header"]

_BODY_BYTES_MAX = 64 << 20
_SECRET_CHARS_MIN = 4
"""Shorter ones would be struck out of ordinary words."""
_KEPT_S = 2.0
"""How long an idle connection is kept: uvicorn closes its side after 5 s, and a POST on its way then is lost."""
_ENDPOINT = re.compile(r"https?://[^/\s?#]+\S*")
_SOCKET = re.compile(r"unix://\S+")
_HEADER = re.compile(r"(?! )[\x20-\x7e]*(?<! )")


class HttpClient:
    """One server. Connections are kept for a moment between requests; safe to share between threads."""

    def __init__(
        self,
        endpoint: str,
        *,
        peer: Peer,
        token: str = "",
        deadline_s: float,
        try_s: float | None = None,
        idle_s: float | None = None,
        retry: Retry | None = None,
        body_bytes_max: int = _BODY_BYTES_MAX,
        trust: Trust | None = None,
        certificate_pem: str = "",
        proxy: str = "",
        takes_sockets: bool = False,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        """`endpoint`: http(s)://host:port/prefix, or unix:///path where those are taken; SettingsError for any other.

        deadline_s: of a request with all its tries; try_s: of one of them; idle_s: the longest silence within one.
        certificate_pem: our client certificate and its key. With a `trust` of the caller's, a certificate that it does
        not cover is a SettingsError; without, the system's certificates count, and such a server is Unavailable.
        """
        if not _ENDPOINT.fullmatch(endpoint) and not (takes_sockets and _SOCKET.fullmatch(endpoint)):
            expected = f"http://host:port or https://host{', or unix:///path' if takes_sockets else ''}"
            raise SettingsError(f"{peer.endpoint} is {shown_url(endpoint)!r}; expected {expected}.")
        self._endpoint = endpoint.rstrip("/")
        self._peer = peer
        self._token = token
        self._secrets = {token}  # of all requests: another thread may have had another one
        self._deadline_s, self._try_s = deadline_s, try_s or deadline_s
        self._idle_s = idle_s or self._try_s
        self._retry = retry or Retry()
        self._body_bytes_max = body_bytes_max
        self._trust, self._certificate_pem, self._proxy = trust, certificate_pem, proxy
        self._transport = transport

    def close(self) -> None:
        """Close the kept connections. Another request would open new ones."""
        if "_http" in self.__dict__:
            self._http.close()
            del self.__dict__["_http"]

    def get_json(self, path: str, *, query: Mapping[str, str] | None = None) -> Any:
        """Unavailable when the answer is not JSON: another program answers there."""
        return self.json_in(self.ask(Request("GET", path, query)))

    def json_in(self, response: Response) -> Any:
        try:
            return response.json()
        except (ValueError, RecursionError):
            said = f"{response.status} with {said_in(response.body, chars_max=200)!r}, which is not JSON"
            raise self.unavailable(f"{response.where} answered {said}") from None

    def ask(self, request: Request, *, deadline_s: float | None = None, retry: Retry | None = None) -> Response:
        """An answer of status 2xx; any other is the error that the table says."""
        response = self.send(request, deadline_s=deadline_s, retry=retry)
        if response.is_success:
            return response
        raise self.error_of(response)

    def error_of(self, response: Response, *, what: str = "") -> RatchetError:
        """What an answer of another status than 2xx means. `what` was asked for; "" = the server's name will do."""
        leads_to = shown_url(response.headers.get("location", ""))
        said = f"it leads to {leads_to}" if leads_to and response.status < 400 else said_in(response.body)
        where = f"{what or self._peer.name}: {response.where}"
        return error_of_status(response.status, self.hidden(said), where=where, peer=self._peer)

    def unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"{self._peer.name} is not available: {self.hidden(why)}. {self._peer.next_step}")

    def send(self, request: Request, *, deadline_s: float | None = None, retry: Retry | None = None) -> Response:
        """The answer, whatever its status. Unavailable when there is none in time."""
        retry = retry or self._retry
        ends_at_s = time.monotonic() + (deadline_s or self._deadline_s)
        found = self._try(request, ends_at_s)
        for num_tries, wait_s in enumerate((*retry.waits_s(), 0.0), start=1):
            pause_s = max(wait_s, asked_wait_s(found))
            # A wait beyond the deadline would only delay the same error.
            is_over = num_tries == retry.num_tries or time.monotonic() + pause_s >= ends_at_s
            if is_over or not retry.is_due(request, found):
                return self._answer_in(found, request, num_tries)
            time.sleep(pause_s)
            found = self._try(request, ends_at_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _answer_in(self, found: Response | Failure, request: Request, num_tries: int) -> Response:
        if isinstance(found, Response):
            return found
        error = found.error
        if isinstance(error, RatchetError):
            raise error
        tries = f", tried {num_tries} times" if num_tries > 1 else ""
        raise self.unavailable(f"{self._where(request)}: {str(error) or type(error).__name__}{tries}") from error

    def _try(self, request: Request, ends_at_s: float) -> Response | Failure:
        import httpx

        http, built = self._http, self._built(request)
        try:
            with ending_at(min(ends_at_s, time.monotonic() + self._try_s)):
                answer = http.send(built, stream=True)
                try:
                    body = self._read(answer, request)
                finally:
                    answer.close()
        except (httpx.LocalProtocolError, httpx.DecodingError, DataRejected) as error:
            return Failure(error, is_final=True)
        except httpx.HTTPError as error:
            if self._trust and (told := explain(error, shown_url(self._endpoint), self._trust)):
                return Failure(SettingsError(told), is_final=True)
            return Failure(error, is_unsent=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout))
        return Response(answer.status_code, dict(answer.headers), body, self._where(request))

    def _read(self, answer: "httpx.Response", request: Request) -> bytes:
        parts, size_bytes = [], 0
        for part in answer.iter_bytes():
            size_bytes += len(part)
            if size_bytes > self._body_bytes_max:
                where = f"{self._peer.name}: {self._where(request)}"
                raise DataRejected(
                    f"{where}: the answer is larger than the limit, {self._body_bytes_max:,} bytes. "
                    f"Check that {self._peer.endpoint} is right, or ask for less."
                )
            parts.append(part)
        return b"".join(parts)

    def _built(self, request: Request) -> "httpx.Request":
        import httpx

        headers = {**bearer_header(self._token), **request.headers}
        self._secrets.add(headers.get("authorization", "").rpartition(" ")[2])
        for name, value in headers.items():
            if not _HEADER.fullmatch(value):  # h11 would say so with the value, which may be a token
                raise SettingsError(
                    f"{self._peer.name}: the header {name} holds a line break or another character that HTTP does not "
                    f"take. Correct {self._peer.identity}."
                )
        base = "http://localhost" if self._endpoint.startswith("unix:") else self._endpoint
        trust = self._trust or SYSTEM_TRUST
        try:
            return self._http.build_request(
                request.method,
                f"{base}{request.path}",
                params=request.query,
                json=request.json,
                data=request.form,
                content=request.content,
                headers=headers,
                extensions={"sni_hostname": trust.server_name} if trust.server_name else {},
            )
        except httpx.InvalidURL as error:
            said = f"{self._peer.name}: {self._where(request)} is no address: {error}"
            raise SettingsError(f"{said}. Correct {self._peer.endpoint}.") from None

    @cached_property
    def _http(self) -> "httpx.Client":
        import httpx

        limits = httpx.Limits(max_keepalive_connections=8, keepalive_expiry=_KEPT_S)
        transport = self._transport or with_deadline(
            httpx.HTTPTransport(
                verify=self._context(),
                trust_env=False,
                limits=limits,
                proxy=self._proxy or None,
                uds=self._endpoint.removeprefix("unix://") if self._endpoint.startswith("unix:") else None,
            )
        )
        # Compressed answers would be unpacked before their size is known.
        headers = {"accept-encoding": "identity", "user-agent": "ratchet"}
        return httpx.Client(transport=transport, headers=headers, timeout=self._idle_s, trust_env=False)

    def _context(self) -> ssl.SSLContext:
        """For plain HTTP one that trusts nobody: reading the system's certificates takes 20 ms."""
        if self._endpoint.startswith("https:") or self._proxy.startswith("https:"):
            return context_of(self._trust or SYSTEM_TRUST, self._certificate_pem)
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def _where(self, request: Request) -> str:
        return f"{request.method} {shown_url(f'{self._endpoint}{request.path}')}"

    def hidden(self, text: str) -> str:
        """Without our credentials: servers and proxies may repeat what they were sent."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***") if len(secret) >= _SECRET_CHARS_MIN else text
        return text


def bearer_header(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}

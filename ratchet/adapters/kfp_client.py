"""The unmodified `kfp.Client`, with deadlines and our errors.

Its own methods wait for ever and print links to stdout, so we call the generated API that it carries
(`client.runs`, `client.pipelines` …), which takes a timeout and prints nothing.
"""

import json
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from ratchet.settings import Settings

if TYPE_CHECKING:
    import kfp

Answer = TypeVar("Answer")

TIMEOUT_S = (3.0, 20.0)
"""To connect, and for the answer."""
_PROBE_TIMEOUT_S = 3.0
READ_ATTEMPTS = 3
_READ_WAIT_S = 0.3
_EQUALS, _IN = 1, 8
"""Numbers of filter operations on the wire. Source: kfp.client.client._FILTER_OPERATIONS."""


class KfpApi:
    """One KFP server. Safe to share between threads."""

    def __init__(self, client: "kfp.Client", *, endpoint: str, token: str = "") -> None:
        self.client: Any = client
        """Its attributes are made at run time (`client.runs` …), so nothing can check them."""
        self.endpoint = endpoint
        self._token = token

    @classmethod
    def of(cls, settings: Settings) -> "KfpApi":
        """Unavailable when nobody answers: the client's own constructor would try for 25 s, with stack traces."""
        settings.require("kfp_endpoint")
        endpoint = settings.kfp_endpoint.rstrip("/")
        token = settings.kfp_token.get_secret_value()
        _probe(endpoint, token)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from kfp.client import Client

            return cls(Client(host=endpoint, existing_token=token or None), endpoint=endpoint, token=token)

    @property
    def namespace(self) -> str | None:
        """None for a single-user server, which refuses any."""
        return self.client.get_user_namespace() or None

    def read(self, what: str, call: Callable[..., Answer], *args: Any, **kwargs: Any) -> Answer:
        """Ask for something that changes nothing; tried again while the server is unavailable."""
        for attempt in range(1, READ_ATTEMPTS):
            try:
                return self.write(what, call, *args, **kwargs)
            except Unavailable:
                time.sleep(_READ_WAIT_S * attempt)
        return self.write(what, call, *args, **kwargs)

    def write(self, what: str, call: Callable[..., Answer], *args: Any, **kwargs: Any) -> Answer:
        """Ask once: an answer that is lost may be a deed that is done."""
        with named(what, endpoint=self.endpoint):
            return call(*args, _request_timeout=TIMEOUT_S, **kwargs)

    def pages(self, what: str, call: Callable[..., Any], field: str, **kwargs: Any) -> Iterator[Any]:
        """Every item of a paginated list."""
        token = ""
        while True:
            page = self.read(what, call, page_token=token, **kwargs)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def fetch_text(self, path: str, *, what: str) -> str:
        """A route that the generated API lacks."""
        return self.fetch_bytes(path, what=what).decode(errors="replace")

    def fetch_bytes(self, path: str, *, what: str) -> bytes:
        try:
            return _open(f"{self.endpoint}{path}", self._token, timeout_s=TIMEOUT_S[1])
        except urllib.error.HTTPError as error:
            raise _error_of(what, error.code, _message_of(error.read()), endpoint=self.endpoint) from error
        except OSError as error:
            raise _unavailable(what, self.endpoint, str(error)) from error

    def experiment_id(self, name: str) -> str | None:
        found = self.pages(
            f"experiment {name!r}",
            self.client.experiments.experiment_service_list_experiments,
            "experiments",
            filter=equals("display_name", name),
            **namespace_of(self),
        )
        return next((experiment.experiment_id for experiment in found), None)

    def put_experiment(self, name: str) -> str:
        """The id of the experiment of that name, which is made when it is not there."""
        if (found := self.experiment_id(name)) is not None:
            return found
        from kfp_server_api import V2beta1Experiment

        body = V2beta1Experiment(display_name=name, namespace=self.namespace)
        create = self.client.experiments.experiment_service_create_experiment
        try:
            return self.write(f"experiment {name!r}", create, experiment=body).experiment_id
        except Conflict:
            made_by_other = self.experiment_id(name)
            if made_by_other is None:
                raise
            return made_by_other


def namespace_of(api: KfpApi) -> dict[str, str]:
    return {} if api.namespace is None else {"namespace": api.namespace}


def equals(key: str, value: str) -> str:
    """A filter on one field."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": key, "stringValue": value}]})


def is_in(key: str, values: tuple[str, ...]) -> str:
    """A filter on any of several values of one field."""
    return json.dumps({"predicates": [{"operation": _IN, "key": key, "stringValues": {"values": list(values)}}]})


@contextmanager
def named(what: str, *, endpoint: str) -> Iterator[None]:
    """Turn what goes wrong between the client and the server into our errors."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _error_of(what, error.status or 0, _message_of(error.body), endpoint=endpoint) from error
    except (HTTPError, OSError) as error:
        raise _unavailable(what, endpoint, str(error)) from error


def _open(url: str, token: str, *, timeout_s: float) -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def _probe(endpoint: str, token: str) -> None:
    if not endpoint.startswith(("http://", "https://")):
        raise SettingsError(f"RATCHET_KFP_ENDPOINT is {endpoint!r}; write http://host:port or https://host.")
    try:
        _open(f"{endpoint}/apis/v2beta1/healthz", token, timeout_s=_PROBE_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        raise _error_of("healthz", error.code, str(error.reason), endpoint=endpoint) from error
    except OSError as error:
        raise _unavailable("healthz", endpoint, str(error)) from error


def _error_of(what: str, status: int, message: str, *, endpoint: str) -> RatchetError:
    said = f"{what}: KFP at {endpoint} answered {status}: {message}"
    if status == 404:
        return NotFound(f"{what} is unknown to KFP at {endpoint} ({message}). `ratchet runs list` shows its runs.")
    if status == 409:
        return Conflict(f"{said}. another process came first: look at its result before you try again.")
    if status in {401, 403}:
        return SettingsError(f"{said}. Check RATCHET_KFP_ENDPOINT, RATCHET_KFP_TOKEN and the rights of this account.")
    if 400 <= status < 500:
        return DataRejected(f"{said}. Correct the request; it fails the same way again.")
    return _unavailable(what, endpoint, f"{status}: {message}")


def _unavailable(what: str, endpoint: str, why: str) -> Unavailable:
    return Unavailable(
        f"{what}: KFP at {endpoint} is not available ({why}). `ratchet up` starts it, `ratchet status` shows its state."
    )


def _message_of(body: Any) -> str:
    """The message of a KFP error: {"code", "message", "details"}."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        value = json.loads(text)
    except ValueError:
        return text[:300]
    return str(value.get("message") or value.get("error") or text)[:300] if isinstance(value, Mapping) else text[:300]

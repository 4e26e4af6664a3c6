"""The unmodified `kfp.Client`, with deadlines and our errors.

Its own methods wait for ever and print links to stdout, so we call the generated API that it carries
(`client.runs`, `client.pipelines` …), which takes a timeout and prints nothing.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ratchet.adapters.http import HttpClient, Peer, Request, Retry
from ratchet.adapters.http_errors import error_of_status, said_in
from ratchet.core.errors import Conflict, RatchetError, Unavailable
from ratchet.settings import Settings

if TYPE_CHECKING:
    import kfp

Answer = TypeVar("Answer")

TIMEOUT_S = (3.0, 20.0)
"""To connect, and for the answer."""
_PEER = Peer(
    name="KFP",
    next_step="`ratchet up` starts it, `ratchet status` shows its state.",
    endpoint="RATCHET_KFP_ENDPOINT",
    identity="RATCHET_KFP_ENDPOINT, RATCHET_KFP_TOKEN or the rights of this account",
    not_found="`ratchet runs list` shows its runs.",
)
_PROBE_DEADLINE_S = 3.0
_DEADLINE_S, _IDLE_S = 300.0, 20.0
"""Of a log or an artifact: as long as it flows, a large one may take minutes."""
_FILE_BYTES_MAX = 1 << 30
"""An artifact is held in memory whole: a report has a megabyte, a model some hundred."""
RETRY = Retry(num_tries=3, wait_s=0.3)
_EQUALS, _IN = 1, 8
"""Numbers of filter operations on the wire. Source: kfp.client.client._FILTER_OPERATIONS."""


class KfpApi:
    """One KFP server. Safe to share between threads."""

    def __init__(self, client: "kfp.Client", *, endpoint: str, token: str = "") -> None:
        self.client: Any = client
        """Its attributes are made at run time (`client.runs` …), so nothing can check them."""
        self.endpoint = endpoint
        self._http = _http_client(endpoint, token)

    @classmethod
    def of(cls, settings: Settings) -> "KfpApi":
        """Unavailable when nobody answers: the client's own constructor would try for 25 s, with stack traces."""
        settings.require("kfp_endpoint")
        endpoint = settings.kfp_endpoint.rstrip("/")
        token = settings.kfp_token.get_secret_value()
        with closing(_http_client(endpoint, token)) as http:
            http.ask(Request("GET", "/apis/v2beta1/healthz"), deadline_s=_PROBE_DEADLINE_S)
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
        for wait_s in RETRY.waits_s():
            try:
                return self.write(what, call, *args, **kwargs)
            except Unavailable:
                time.sleep(wait_s)
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
        response = self._http.send(Request("GET", path))
        if response.is_success:
            return response.body
        raise self._http.error_of(response, what=what)

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
        raise _error_of(what, error.status or 0, error.body, endpoint=endpoint) from error
    except (HTTPError, OSError) as error:
        raise _unavailable(what, endpoint, str(error)) from error


def _http_client(endpoint: str, token: str) -> HttpClient:
    return HttpClient(
        endpoint,
        peer=_PEER,
        token=token,
        deadline_s=_DEADLINE_S,
        idle_s=_IDLE_S,
        retry=RETRY,
        body_bytes_max=_FILE_BYTES_MAX,
    )


def _error_of(what: str, status: int, body: Any, *, endpoint: str) -> RatchetError:
    said = said_in(body if isinstance(body, bytes) else str(body or "").encode())
    return error_of_status(status, said, where=f"{what}: KFP at {endpoint}", peer=_PEER)


def _unavailable(what: str, endpoint: str, why: str) -> Unavailable:
    return Unavailable(f"{what}: KFP at {endpoint} is not available ({why}). {_PEER.next_step}")

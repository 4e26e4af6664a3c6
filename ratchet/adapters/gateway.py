"""Who answers at the gateway: asked there as a user asks, because a status only says who should."""

from contextlib import closing

from ratchet.adapters.http import ONCE, HttpClient, Peer, Request, Retry
from ratchet.adapters.tls import Trust, read_ca
from ratchet.settings import Settings, variable_of

_REVISION_HEADER, _MODEL_HEADER = "x-ratchet-revision", "x-ratchet-model"
"""Set by the embedded gateway for the revision that its split chose; by our model server, everywhere, for itself."""
_PEER = Peer(
    name="The gateway",
    next_step="`ratchet status` shows what runs, `ratchet up` starts it.",
    endpoint="RATCHET_GATEWAY_ENDPOINT",
    identity="RATCHET_GATEWAY_TOKEN",
)
_DEADLINE_S = 5.0


def gateway_client(settings: Settings, *, deadline_s: float, retry: Retry | None = None) -> HttpClient:
    """For requests as users send them, with the token and the CA of the settings."""
    settings.require("gateway_endpoint")
    variable = variable_of("gateway_ca_file")
    path = settings.gateway_ca_file
    trust = Trust(read_ca(path, variable=variable), path) if path else Trust()
    trust = trust._replace(next_step=f"Set {variable} to the PEM file of the CA that issued it")
    return HttpClient(
        settings.gateway_endpoint,
        peer=_PEER,
        token=settings.gateway_token.get_secret_value(),
        deadline_s=deadline_s,
        retry=retry,
        trust=trust,
    )


class HttpGateway:
    """Implements ports.Gateway. Questions are cheap (`ready` of the Open Inference Protocol) and predict nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fetch_answerers(self, name: str, *, num_requests: int) -> frozenset[str]:
        """One connection, so that a hundred questions take about 0.1 s; the split is by request, not by connection."""
        request, answerers = Request("GET", f"/v2/models/{name}/ready"), set[str]()
        # Each answer is evidence, a 503 too; and whoever asks for a witness asks again by itself.
        with closing(gateway_client(self._settings, deadline_s=_DEADLINE_S, retry=ONCE)) as http:
            for _ in range(num_requests):
                headers = http.send(request).headers
                answerers |= {headers.get(_REVISION_HEADER, ""), headers.get(_MODEL_HEADER, "")}
            if not any(answerers):
                where = f"{self._settings.gateway_endpoint.rstrip('/')}{request.path}"
                raise http.unavailable(
                    f"{where}: {num_requests} answers name neither revision nor model. Check that "
                    f"{_PEER.endpoint} is the gateway and that it passes on the header {_MODEL_HEADER}"
                )
        return frozenset(answerers - {""})

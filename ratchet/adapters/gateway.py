"""Who answers at the gateway: asked there as a user asks, because a status only says who should."""

from contextlib import closing

from ratchet.adapters.http import ONCE, HttpClient, Peer, Request

_REVISION_HEADER, _MODEL_HEADER = "x-ratchet-revision", "x-ratchet-model"
"""Set by the embedded gateway for the revision that its split chose; by our model server, everywhere, for itself."""
_PEER = Peer(name="The gateway", next_step="`ratchet status` shows what runs.", endpoint="RATCHET_GATEWAY_ENDPOINT")
_DEADLINE_S = 5.0


class HttpGateway:
    """Implements ports.Gateway. Questions are cheap (`ready` of the Open Inference Protocol) and predict nothing."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def fetch_answerers(self, name: str, *, num_requests: int) -> frozenset[str]:
        """One connection, so that a hundred questions take about 0.1 s; the split is by request, not by connection."""
        request, answerers = Request("GET", f"/v2/models/{name}/ready"), set[str]()
        # Each answer is evidence, a 503 too; and whoever asks for a witness asks again by itself.
        with closing(HttpClient(self._endpoint, peer=_PEER, deadline_s=_DEADLINE_S, retry=ONCE)) as http:
            for _ in range(num_requests):
                headers = http.send(request).headers
                answerers |= {headers.get(_REVISION_HEADER, ""), headers.get(_MODEL_HEADER, "")}
            if not any(answerers):
                where = f"{self._endpoint.rstrip('/')}{request.path}"
                raise http.unavailable(
                    f"{where}: {num_requests} answers name neither revision nor model. Check that "
                    f"{_PEER.endpoint} is the gateway and that it passes on the header {_MODEL_HEADER}"
                )
        return frozenset(answerers - {""})

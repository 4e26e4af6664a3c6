"""Who answers at the gateway: asked there as a user asks, because a status only says who should."""

import httpx

from ratchet.core.errors import Unavailable

_REVISION_HEADER, _MODEL_HEADER = "x-ratchet-revision", "x-ratchet-model"
"""Set by the embedded gateway for the revision that its split chose; by our model server, everywhere, for itself."""
_TIMEOUT_S = 5.0


class HttpGateway:
    """Implements ports.Gateway. Questions are cheap (`ready` of the Open Inference Protocol) and predict nothing."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")

    def fetch_answerers(self, name: str, *, num_requests: int) -> frozenset[str]:
        """One connection, so that a hundred questions take about 0.1 s; the split is by request, not by connection."""
        url, answerers = f"{self._endpoint}/v2/models/{name}/ready", set[str]()
        try:
            with httpx.Client(timeout=_TIMEOUT_S, trust_env=False) as http:
                for _ in range(num_requests):
                    headers = http.get(url).headers
                    answerers |= {headers.get(_REVISION_HEADER, ""), headers.get(_MODEL_HEADER, "")}
        except httpx.HTTPError as error:
            raise Unavailable(f"{url}: {error or type(error).__name__}. `ratchet status` shows what runs.") from error
        if not any(answerers):
            raise Unavailable(
                f"{url}: {num_requests} answers name neither revision nor model. Check that RATCHET_GATEWAY_ENDPOINT "
                f"is the gateway and that it passes on the header {_MODEL_HEADER}."
            )
        return frozenset(answerers - {""})

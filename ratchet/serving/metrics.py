"""The numbers at `/metrics`: those of this process, and KServe's three of each request under KServe's names.

They have a registry of their own: KServe's client library, imported in the same process, registers the same names.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Histogram
from prometheus_client.exposition import choose_encoder

_SERVING = CollectorRegistry()
PREPROCESS = Histogram("request_preprocess_seconds", "pre-process request latency", ["model_name"], registry=_SERVING)
PREDICT = Histogram("request_predict_seconds", "predict request latency", ["model_name"], registry=_SERVING)
POSTPROCESS = Histogram(
    "request_postprocess_seconds", "post-process request latency", ["model_name"], registry=_SERVING
)


class _AllMetrics:
    def collect(self) -> Iterator[Any]:
        yield from REGISTRY.collect()
        yield from _SERVING.collect()


def render_metrics(accept: str) -> tuple[bytes, str]:
    """The text in the format that the Accept header asks for, and its content type."""
    encoder, content_type = choose_encoder(accept)
    return encoder(_AllMetrics()), content_type

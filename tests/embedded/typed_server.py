"""`python -m tests.embedded.typed_server PORT OUTPUT [GRPC_PORT]`: the model server around a model of typed inputs."""

import sys
from typing import Any

from ratchet.serving.model import ServedModel
from ratchet.serving.server import serve
from tests.unit.serving.typed_model import CATEGORY, NUMBER, TAGS, RuleModel, spec_of

if __name__ == "__main__":
    port, output, *grpc_port = sys.argv[1:]
    outputs: dict[str, dict[str, Any]] = {"category": CATEGORY, "number": NUMBER, "tags": TAGS}
    model = RuleModel(spec_of(outputs[output]))
    served = ServedModel("flights", model)  # type: ignore[arg-type]
    served.load()
    ports = {"port": int(port), "grpc_port": int(grpc_port[0]) if grpc_port else 0}
    serve(served, host="127.0.0.1", digest=model.digest, **ports)

"""A model server as KServe's documentation shows one: `python -m benchmarks.serving.plain_kserve FOLDER PORT GRPC`.

The network and the arithmetic of our model, without any check of what is sent.
"""

import sys
from pathlib import Path
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid

from ratchet.tasks.model_files import load_model


class PlainModel(Model):
    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        import torch

        torch.set_num_threads(1)
        self._model = load_model(folder)
        self.ready = True

    def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> Any:
        import numpy as np

        classes = self._model.spec.classes
        if not isinstance(payload, InferRequest):
            scores_BK = self._model.predict_proba(np.array(payload["instances"], dtype=np.float64))
            best_B = scores_BK.argmax(axis=1)
            rows = zip(best_B, scores_BK, strict=True)
            return {"predictions": [{"label": classes[k], "probability": float(row[k])} for k, row in rows]}
        scores_BK = self._model.predict_proba(payload.inputs[0].as_numpy().astype(np.float64))
        best_B = scores_BK.argmax(axis=1)
        num = len(best_B)
        return InferResponse(
            response_id=payload.id or generate_uuid(),
            model_name=self.name,
            infer_outputs=[
                InferOutput("label", [num], "BYTES", data=[classes[k] for k in best_B]),
                InferOutput("probability", [num], "FP64", data=scores_BK.max(axis=1).tolist()),
                InferOutput("scores", list(scores_BK.shape), "FP64", data=scores_BK.ravel().tolist()),
            ],
        )


if __name__ == "__main__":
    folder, port, grpc_port = sys.argv[1:]
    sys.argv = sys.argv[:1]  # KServe reads it too
    server = ModelServer(http_port=int(port), grpc_port=int(grpc_port), workers=1, access_log_format=None)
    server.start([PlainModel("digits", Path(folder))])

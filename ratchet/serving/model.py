"""A Ratchet model behind KServe's two protocols: V1 `:predict` and V2 (Open Inference Protocol) `/infer`.

Shape suffixes: B instances of a request, F raw features, K classes.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import torch
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
from kserve.errors import InferenceError, InvalidInput
from kserve.utils.utils import generate_uuid

from ratchet.core.errors import DataRejected
from ratchet.serving.inputs import first_outside, is_inside, parse_instances, parse_tensor
from ratchet.serving.open_inference import INPUT_NAME
from ratchet.serving.payload_writer import Answered, PayloadWriter
from ratchet.tasks.model_files import ServableModel

log = logging.getLogger(__name__)
_NUM_WARM_UPS = 3
REQUEST_ID = "x-request-id"


class ServedModel(Model):
    """Answers with each instance's label and its probability, and with the digest of the model that says so.

    Inference has a thread of its own, so that health checks are answered while it works. Torch's own parallelism is
    switched off there: a small model gains nothing by it, and two revisions share the cores.
    """

    def __init__(self, name: str, model: ServableModel, payloads: PayloadWriter | None = None) -> None:
        super().__init__(name)
        self._model = model
        self._payloads = payloads
        self._labels_K = np.array(model.spec.classes)
        self._thread = ThreadPoolExecutor(1, "inference", initializer=torch.set_num_threads, initargs=(1,))

    @property
    def standstill(self) -> str:
        """Which loop beside serving stands still, for liveness alone: such a server still answers its users."""
        return self._payloads.heartbeat.problem if self._payloads else ""

    @property
    def num_features(self) -> int:
        return self._model.spec.features.num_features

    def load(self) -> bool:
        """Warm up, so that the first user does not wait for it. A middling input is no proof of a bad model."""
        features = self._model.spec.features
        middle_BF = np.full((1, features.num_features), (features.min_value + features.max_value) / 2)
        try:
            for _ in range(_NUM_WARM_UPS):
                self._thread.submit(self._model.predict_proba, middle_BF).result()
        except Exception:
            log.warning("%s: warming up failed; serving anyway", self.name, exc_info=True)
        self.ready = True
        return True

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Called by KServe. InvalidInput is answered 400; InferenceError 500, with the connection kept.

        Any other exception would be answered 500 too, but then uvicorn drops the connection without a warning.
        """
        began_s = time.perf_counter()
        is_v2 = isinstance(payload, InferRequest)
        try:
            features_BF = self._features_of_v2(payload) if is_v2 else self._features_of_v1(payload)
        except DataRejected as error:
            raise InvalidInput(f"{self.name}: {error}") from None
        writer, request_id = self._payloads, (headers or {}).get(REQUEST_ID, "")
        is_logged = writer is not None and writer.wants(request_id)
        sent_BF = features_BF.copy() if is_logged else features_BF  # a task's preprocessing may work in place
        proba_BK = await self._infer(features_BF)
        best_B, probability_B = proba_BK.argmax(axis=1), proba_BK.max(axis=1)
        if writer is not None and is_logged:
            latency_ms = (time.perf_counter() - began_s) * 1000
            labels = self._labels_K[best_B].tolist()
            writer.offer(Answered(request_id, time.time(), latency_ms, sent_BF, labels, probability_B))
        return self._render_v2(payload, proba_BK) if is_v2 else self._render_v1(best_B, probability_B)

    async def _infer(self, features_BF: np.ndarray) -> np.ndarray:
        """The probabilities of all classes (B, K). InvalidInput where the model fails on what no task file allows, and
        answers the rest of the request: a fault of the model is no less one because a wrong instance lies beside."""
        spec = self._model.spec.features
        outside = first_outside(features_BF, spec)  # both before the model: preprocessing may work in place
        inside_BF = features_BF[is_inside(features_BF, spec)] if outside else features_BF
        try:
            return await self._proba(features_BF)
        except InferenceError as error:
            if outside is None:
                raise
            if len(inside_BF):
                await self._proba(inside_BF)
            raise InvalidInput(f"{self.name}: {outside}, and the model has no answer for it: {error}") from None

    async def _proba(self, features_BF: np.ndarray) -> np.ndarray:
        """InferenceError when the model raises, or answers with something else than finite probabilities (B, K)."""
        try:
            loop = asyncio.get_running_loop()
            proba_BK = await loop.run_in_executor(self._thread, self._model.predict_proba, features_BF)
        except Exception as error:
            raise InferenceError(f"{self.name}: the model failed: {type(error).__name__}: {error}") from error
        expected = (len(features_BF), len(self._labels_K))
        if proba_BK.shape != expected or not np.isfinite(proba_BK).all():
            raise InferenceError(f"{self.name}: the model's output is not {expected} finite probabilities")
        return proba_BK

    def _features_of_v1(self, payload: Any) -> np.ndarray:
        if isinstance(payload, bytes):  # KServe leaves the body alone when its content type is not JSON, as with curl
            try:
                payload = orjson.loads(payload)
            except orjson.JSONDecodeError as error:
                raise DataRejected(f"The body is not JSON: {error}.") from None
        return parse_instances(payload, num_features=self._model.spec.features.num_features)

    def _features_of_v2(self, request: InferRequest) -> np.ndarray:
        if len(request.inputs) != 1:
            raise DataRejected(f"{len(request.inputs)} input tensors; this model takes one.")
        try:
            tensor = np.asarray(_tensor_of(request.inputs[0]))
        except (InvalidInput, ValueError, TypeError, OverflowError) as error:
            raise DataRejected(f"The input's data does not fit its shape and datatype: {error}.") from None
        return parse_tensor(tensor, num_features=self._model.spec.features.num_features)

    def _render_v1(self, best_B: np.ndarray, probability_B: np.ndarray) -> dict[str, Any]:
        predictions = [
            {"label": str(label), "probability": float(probability)}
            for label, probability in zip(self._labels_K[best_B], probability_B, strict=True)
        ]
        return {"predictions": predictions, "model_digest": self._model.digest}

    def get_input_types(self) -> list[dict[str, Any]]:
        """Called by KServe for the model's metadata; -1 is any number of instances."""
        return [{"name": INPUT_NAME, "datatype": "FP64", "shape": [-1, self._model.spec.features.num_features]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        num_classes = len(self._labels_K)
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probability", "datatype": "FP64", "shape": [-1]},
            {"name": "scores", "datatype": "FP64", "shape": [-1, num_classes]},
        ]

    def _render_v2(self, request: InferRequest, proba_BK: np.ndarray) -> InferResponse:
        """All outputs; KServe sends those that the request asked for. The classes of `scores` are JSON text: the
        protocol has no lists as parameters."""
        num_instances, num_classes = proba_BK.shape
        labels = self._labels_K[proba_BK.argmax(axis=1)].tolist()
        classes = {"classes": orjson.dumps(self._labels_K.tolist()).decode()}
        return InferResponse(
            response_id=request.id or generate_uuid(),
            model_name=self.name,
            infer_outputs=[
                InferOutput("label", [num_instances], "BYTES", data=labels),
                InferOutput("probability", [num_instances], "FP64", data=proba_BK.max(axis=1).tolist()),
                InferOutput("scores", [num_instances, num_classes], "FP64", proba_BK.ravel().tolist(), classes),
            ],
            parameters={"model_digest": self._model.digest},
            requested_outputs=request.request_outputs,
        )


def _tensor_of(tensor: InferInput) -> Any:
    data = tensor.as_numpy()
    if data is None:
        raise ValueError("no data")
    return data

"""A Ratchet model behind KServe's two protocols: V1 `:predict` and V2 (Open Inference Protocol) `/infer`.

Shape suffixes: B instances of a request.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pyarrow as pa
import torch
from kserve import InferResponse, Model
from kserve.errors import InferenceError, InvalidInput
from kserve.utils.utils import generate_uuid

from ratchet.core.errors import DataRejected
from ratchet.core.labels.answers import Answers
from ratchet.core.labels.middling import middling_inputs
from ratchet.core.rollout.logged_inputs import shortened
from ratchet.serving.inputs import parse_instances
from ratchet.serving.open_inference import TypedInferRequest, parse_infer_request, read_document
from ratchet.serving.payload_writer import Answered, PayloadWriter
from ratchet.serving.ranges import find_outside
from ratchet.serving.rendering import input_types, output_types, predictions_of, tensors_of
from ratchet.serving.request_images import RequestImages
from ratchet.tasks.model_files import ServableModel

log = logging.getLogger(__name__)
_NUM_WARM_UPS = 3
_NUM_READERS = 2
"""Threads that read requests with images: decoding takes milliseconds, and a fetch as long as the store needs."""
REQUEST_ID = "x-request-id"


class ServedModel(Model):
    """Answers with each instance's label and its probability, and with the digest of the model that says so.

    Inference has a thread of its own, so that health checks are answered while it works. Torch's own parallelism is
    switched off there: a small model gains nothing by it, and two revisions share the cores.
    """

    def __init__(
        self,
        name: str,
        model: ServableModel,
        payloads: PayloadWriter | None = None,
        *,
        images: RequestImages | None = None,
    ) -> None:
        super().__init__(name)
        self._model = model
        self._schema = model.spec.examples
        self._payloads = payloads
        self._images = images or RequestImages()
        self._thread = ThreadPoolExecutor(1, "inference", initializer=torch.set_num_threads, initargs=(1,))
        has_images = any(True for _ in self._schema.of_type("image"))
        self._readers = ThreadPoolExecutor(_NUM_READERS, "reader") if has_images else None

    @property
    def standstill(self) -> str:
        """Which loop beside serving stands still, for liveness alone: such a server still answers its users."""
        return self._payloads.heartbeat.problem if self._payloads else ""

    def load(self) -> bool:
        """Warm up, so that the first user does not wait for it. A middling input is no proof of a bad model."""
        inputs = middling_inputs(self._schema)
        try:
            for _ in range(_NUM_WARM_UPS):
                self._thread.submit(self._model.answer, inputs).result()
        except Exception:
            log.warning("%s: warming up failed; serving anyway", self.name, exc_info=True)
        self.ready = True
        return True

    async def read_v2(self, body: bytes, *, header_length: str | None, model: str) -> TypedInferRequest:
        """A V2 body as `predict` takes it. DataRejected says what is wrong with it."""
        return await self._in_reader(
            lambda: parse_infer_request(
                body, header_length=header_length, model=model, schema=self._schema, images=self._images
            )
        )

    async def read_document(self, document: Mapping[str, Any], binary: memoryview) -> TypedInferRequest:
        """As `read_v2` does, of a request that did not come as JSON."""
        return await self._in_reader(
            lambda: read_document(document, binary, model=self.name, schema=self._schema, images=self._images)
        )

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Called by KServe. InvalidInput is answered 400; InferenceError 500, with the connection kept.

        Any other exception would be answered 500 too, but then uvicorn drops the connection without a warning.
        """
        began_s = time.perf_counter()
        is_v2 = isinstance(payload, TypedInferRequest)
        try:
            inputs = payload.table if is_v2 else await self._in_reader(lambda: self._inputs_of_v1(payload))
        except DataRejected as error:
            raise InvalidInput(f"{self.name}: {error}") from None
        answers = await self._infer(inputs)
        await self._offer(inputs, answers, request_id=(headers or {}).get(REQUEST_ID, ""), began_s=began_s)
        return self._render_v2(payload, answers) if is_v2 else self._render_v1(answers)

    async def _in_reader(self, read: Any) -> Any:
        """Where a request may hold images it is read beside the event loop, which health checks share."""
        if self._readers is None:
            return read()
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    async def _offer(self, inputs: pa.Table, answers: Answers, *, request_id: str, began_s: float) -> None:
        """To the payload log, where it takes this request."""
        writer = self._payloads
        if writer is None or not writer.wants(request_id):
            return
        latency_ms = (time.perf_counter() - began_s) * 1000
        logged = await self._in_reader(lambda: shortened(inputs, self._schema))
        writer.offer(Answered(request_id, time.time(), latency_ms, logged, answers, self._schema.short_input))

    async def _infer(self, inputs: pa.Table) -> Answers:
        """The answers (B,). InvalidInput where the model fails on what no task file allows, and answers the rest of the
        request: a fault of the model is no less one because a wrong instance lies beside."""
        try:
            return await self._answer(inputs)
        except InferenceError as error:
            outside = find_outside(inputs, self._schema)
            if not outside.text:
                raise
            if outside.is_inside_B.any():
                await self._answer(inputs.filter(pa.array(outside.is_inside_B)))
            raise InvalidInput(f"{self.name}: {outside.text}, and the model has no answer for it: {error}") from None

    async def _answer(self, inputs: pa.Table) -> Answers:
        """InferenceError when the model raises, or answers with something else than its task file promises."""
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._model.answer, inputs)
        except Exception as error:
            raise InferenceError(f"{self.name}: the model failed: {type(error).__name__}: {error}") from error
        if len(answers) != inputs.num_rows:
            raise InferenceError(f"{self.name}: the model has {len(answers)} answers to {inputs.num_rows} instances")
        return answers

    def _inputs_of_v1(self, payload: Any) -> pa.Table:
        if isinstance(payload, bytes):  # KServe leaves the body alone when its content type is not JSON, as with curl
            try:
                payload = orjson.loads(payload)
            except orjson.JSONDecodeError as error:
                raise DataRejected(f"The body is not JSON: {error}.") from None
        return parse_instances(payload, schema=self._schema, images=self._images)

    def get_input_types(self) -> list[dict[str, Any]]:
        """Called by KServe for the model's metadata."""
        return input_types(self._schema)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Called by KServe for the model's metadata."""
        return output_types(self._schema.output)

    def _render_v1(self, answers: Answers) -> dict[str, Any]:
        return {"predictions": predictions_of(answers, self._schema.output), "model_digest": self._model.digest}

    def _render_v2(self, request: TypedInferRequest, answers: Answers) -> InferResponse:
        """All outputs; KServe sends those that the request asked for."""
        return InferResponse(
            response_id=request.id or generate_uuid(),
            model_name=self.name,
            infer_outputs=tensors_of(answers, self._schema.output),
            parameters={"model_digest": self._model.digest},
            requested_outputs=request.request_outputs,
        )

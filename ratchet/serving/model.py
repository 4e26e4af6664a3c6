"""A Ratchet model behind a KServe predictor's protocols: V1 `:predict` and V2 (Open Inference Protocol) `/infer`.

Shape suffixes: B instances of a request.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pyarrow as pa
import torch

from ratchet.core.errors import DataRejected
from ratchet.core.labels.answers import Answers
from ratchet.core.labels.middling import middling_inputs
from ratchet.core.rollout.logged_inputs import shortened
from ratchet.serving.batching import BUDGET_S, Batcher
from ratchet.serving.cloud_events import request_in
from ratchet.serving.inputs import parse_instances
from ratchet.serving.metrics import POSTPROCESS, PREDICT, PREPROCESS
from ratchet.serving.open_inference import parse_infer_request, parse_json, read_document
from ratchet.serving.payload_writer import Answered, PayloadWriter
from ratchet.serving.protocol_errors import InferenceError, InvalidInput
from ratchet.serving.ranges import find_outside
from ratchet.serving.rendering import input_types, output_types, predictions_of, tensors_of
from ratchet.serving.request_images import RequestImages
from ratchet.serving.tensor_answers import InferAnswer, TypedInferRequest
from ratchet.tasks.model_files import ServableModel

log = logging.getLogger(__name__)
_NUM_WARM_UPS = 3
_NUM_READERS = 2
"""Threads that read requests with images: decoding takes milliseconds, and a fetch as long as the store needs."""
_PLATFORM = "pytorch"
_Read = TypeVar("_Read")


class ServedModel:
    """Answers with each instance's label and its probability, and with the digest of the model that says so.

    A pass of a slow model has a thread of its own, so that health checks are answered while it works. Torch's own
    parallelism is switched off: a small model gains nothing by it, and two revisions share the cores.
    """

    def __init__(
        self,
        name: str,
        model: ServableModel,
        payloads: PayloadWriter | None = None,
        *,
        images: RequestImages | None = None,
        batch_budget_s: float = BUDGET_S,
    ) -> None:
        self.name = name
        self.is_ready = False
        self._model = model
        self._schema = model.spec.examples
        self._payloads = payloads
        self._images = images or RequestImages()
        self._thread = ThreadPoolExecutor(1, "inference", initializer=torch.set_num_threads, initargs=(1,))
        self._batcher = Batcher(model.answer, self._thread, budget_s=batch_budget_s)
        has_images = any(True for _ in self._schema.of_type("image"))
        self._readers = ThreadPoolExecutor(_NUM_READERS, "reader") if has_images else None
        self._preprocess, self._predict, self._postprocess = (
            each.labels(model_name=name) for each in (PREPROCESS, PREDICT, POSTPROCESS)
        )

    @property
    def standstill(self) -> str:
        """Which loop beside serving stands still, for liveness alone: such a server still answers its users."""
        return self._payloads.heartbeat.problem if self._payloads else ""

    @property
    def metadata(self) -> dict[str, Any]:
        """As V2 describes a model."""
        inputs, outputs = input_types(self._schema), output_types(self._schema.output)
        return {"name": self.name, "platform": _PLATFORM, "inputs": inputs, "outputs": outputs}

    def load(self) -> None:
        """Warm up, so that the first user does not wait for it. A middling input is no proof of a bad model."""
        inputs = middling_inputs(self._schema)
        try:
            self._thread.submit(self._batcher.warm_up, inputs, num=_NUM_WARM_UPS).result()
        except Exception:
            log.warning("%s: warming up failed; serving anyway", self.name, exc_info=True)
        self.is_ready = True

    async def read_v2(self, body: bytes, *, header_length: str | None) -> TypedInferRequest:
        """A V2 body as `answer_v2` takes it. InvalidInput says what is wrong with it."""
        return await self._read(
            lambda: parse_infer_request(body, header_length=header_length, schema=self._schema, images=self._images)
        )

    async def read_document(self, document: Mapping[str, Any], binary: memoryview) -> TypedInferRequest:
        """As `read_v2` does, of a request that did not come as JSON."""
        return await self._read(lambda: read_document(document, binary, schema=self._schema, images=self._images))

    async def read_v1(self, body: bytes, headers: Mapping[str, str]) -> pa.Table:
        """The inputs of a V1 body, (B,) rows, whatever its content type says. InvalidInput says what is wrong."""
        return await self._read(
            lambda: parse_instances(request_in(parse_json(body), headers), schema=self._schema, images=self._images)
        )

    async def answer_v1(self, inputs: pa.Table, *, request_id: str = "") -> dict[str, Any]:
        answers = await self._answer_and_log(inputs, request_id)
        with self._postprocess.time():
            return {"predictions": predictions_of(answers, self._schema.output), "model_digest": self._model.digest}

    async def answer_v2(self, request: TypedInferRequest, *, request_id: str = "") -> InferAnswer:
        answers = await self._answer_and_log(request.table, request_id)
        with self._postprocess.time():
            outputs = tensors_of(answers, self._schema.output)
            return InferAnswer(
                id=request.id or str(uuid.uuid4()),
                model_name=self.name,
                outputs=[outputs[each.name] for each in request.outputs],
                parameters={"model_digest": self._model.digest},
            )

    async def _read(self, read: Callable[[], _Read]) -> _Read:
        """Where a request may hold images it is read beside the event loop, which health checks share."""
        try:
            with self._preprocess.time():
                return await self._in_reader(read)
        except DataRejected as error:
            raise InvalidInput(f"{self.name}: {error}") from None

    async def _in_reader(self, read: Callable[[], _Read]) -> _Read:
        if self._readers is None:
            return read()
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    async def _answer_and_log(self, inputs: pa.Table, request_id: str) -> Answers:
        began_s = time.perf_counter()
        answers = await self._infer(inputs)
        took_s = time.perf_counter() - began_s
        self._predict.observe(took_s)
        await self._offer(inputs, answers, request_id=request_id, latency_ms=took_s * 1000)
        return answers

    async def _offer(self, inputs: pa.Table, answers: Answers, *, request_id: str, latency_ms: float) -> None:
        """To the payload log, where it takes this request."""
        writer = self._payloads
        if writer is None or not writer.wants(request_id):
            return
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
            answers = await self._batcher.answer(inputs)
        except (Exception, SystemExit) as error:
            raise InferenceError(f"{self.name}: the model failed: {type(error).__name__}: {error}") from error
        if len(answers) != inputs.num_rows:
            raise InferenceError(f"{self.name}: the model has {len(answers)} answers to {inputs.num_rows} instances")
        return answers

"""The challenger in the real model server: what it answers to the test rows, and what it takes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from ratchet.core.errors import Unavailable
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.models.serving_budget import DISTANCES, Precision, ServingEvidence, is_look_due, is_start_due
from ratchet.core.ports import ModelProbe, StartedServer

if TYPE_CHECKING:
    from ratchet.tasks.model_files import ServableModel


class Served(NamedTuple):
    labels: Sequence[Any]
    """(N,)"""
    evidence: ServingEvidence | None


NOTHING = Served((), None)
"""Of no rows."""


@contextmanager
def served_beside(
    probe: ModelProbe, model_path: Path, inputs: pa.Table, policy: EvaluationPolicy
) -> Iterator[Callable[["ServableModel"], Served]]:
    """Start a model server that answers the rows while this process does other work: it starts for 5 s, and so long
    does this process import torch and load two models.

    The function that is given is for when that is done: what it then measures is not disturbed by it.
    """
    if not inputs.num_rows:
        yield lambda _: NOTHING
        return
    with ThreadPoolExecutor(1) as beside, probe.start(model_path) as server:
        answers = beside.submit(server.fetch_answers, inputs)

        def finish(challenger: "ServableModel") -> Served:
            labels, probabilities = answers.result()
            taken = _measured(server, probe, model_path, inputs, policy)
            return Served(labels, replace(taken, probability_N=probabilities, precision=_precision_of(challenger)))

        yield finish


def _measured(
    server: StartedServer, probe: ModelProbe, model_path: Path, inputs: pa.Table, policy: EvaluationPolicy
) -> ServingEvidence:
    budget, problem = policy.serving, ""
    looks_ms: list[Sequence[float]] = []
    try:
        while is_look_due(looks_ms, budget, confidence=policy.confidence):
            looks_ms.append(
                server.fetch_latencies_ms(
                    inputs, requests_per_s=budget.requests_per_s, num_requests=budget.num_requests
                )
            )
    except Unavailable as error:
        problem = str(error)
    memory_mb = server.fetch_memory_mb()
    loads_s = [server.wait_ready()]
    while is_start_due(loads_s, budget):
        with probe.start(model_path) as again:
            loads_s.append(again.wait_ready())
    return ServingEvidence(loads_s=loads_s, looks_ms=looks_ms, memory_mb=memory_mb, problem=problem)


def _precision_of(model: "ServableModel") -> Precision:
    """Of the least precise weights; trees are grown, and answer, in float64."""
    tensors = model.network.state_dict().values() if hasattr(model.network, "state_dict") else ()
    names = {str(each.dtype).removeprefix("torch.") for each in tensors if each.is_floating_point()}
    known = [name for name in DISTANCES if name in names]
    return max(known, key=DISTANCES.__getitem__, default="float64")

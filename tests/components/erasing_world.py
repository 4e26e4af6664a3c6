"""A task with versions, waiting labels, logged requests and past runs, for the tests of erasing."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.erasing import Holders
from ratchet.actions.labels.erasing_logs import Logs
from ratchet.adapters.run_tables import KfpRunTables
from ratchet.adapters.s3_payloads import S3FeedbackStore
from ratchet.core.labels.answers import Answers
from ratchet.core.labels.erasure import ErasureOrder, Scanned
from ratchet.core.ports import RunArtifact
from ratchet.core.rollout.payloads import PAYLOADS, Feedback, record_key_of
from ratchet.serving.payload_writer import Answered, render_lines
from ratchet.stores.erasures import Erasures
from ratchet.stores.example_signatures import ExampleSignatures
from ratchet.stores.findings import Findings
from ratchet.stores.request_logs import FeedbackFiles, PayloadFiles
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.sketches import Sketches
from tests.components.crash import Strike, Watched
from tests.components.data import NOON, SPEC, Room, digit_labels, digits
from tests.components.rollout_world import Objects
from tests.fakes.pipelines import FakePipelines

GONE = ("digit-7", "digit-211")
ORDER = ErasureOrder(ids=GONE, by="maria", reason="request 114", at=NOON)
LONG_AGO = NOON - timedelta(days=9_000)
ASKED = {"whole": [7], "shared": [9, 211, 10], "other": [11]}
"""Requests of the payload log, and the digits that they asked about."""
PAST_RUN = "minio://mlflow/artifacts/retrain/run-1/ingest"


def unwatched(_: Scanned) -> None:
    """No progress bar."""


def log_requests(objects: Any, requests: Mapping[str, Sequence[int]] = ASKED) -> None:
    """Each as an object of the payload log, with a true label for each of its answers."""
    features_NF, _ = digits()
    feedback = S3FeedbackStore(objects, bucket="ratchet", now=lambda: NOON)
    for number, (request_id, rows) in enumerate(requests.items()):
        if not rows:
            continue
        short = SPEC.examples.short_input
        assert short is not None
        inputs = pa.table({short.name: pa.array([list(features_NF[row]) for row in rows])})
        answers = Answers(pa.array(["1"] * len(rows)), np.full((len(rows), 10), 0.1))
        one = Answered(request_id, NOON.timestamp(), 1.0, inputs, answers, short)
        key = record_key_of(PAYLOADS, "digits", NOON, bytes([number, *request_id.encode()[-9:]]))
        objects.put(f"s3://ratchet/{key}", b"".join(render_lines([one], model_digest="m")))
        items = [Feedback(request_id=request_id, instance=place, label="2", at=NOON) for place in range(len(rows))]
        feedback.append("digits", items)


def leave_tables(room: Room) -> None:
    """What the last run's `ingest` handed on, where KFP keeps it."""
    for name in ("incoming", "reference"):
        room.objects.put(f"s3{PAST_RUN.removeprefix('minio')}/{name}", Path(room.path(name)).read_bytes())


def past_runs() -> FakePipelines:
    pipelines = FakePipelines(["retrain"])
    run_id = pipelines.submit("retrain", run_name="run-1", experiment="digits", parameters={})
    pipelines.finish(run_id)
    names = ("incoming", "reference", "manifest", "removed")
    pipelines.artifacts[run_id] = [
        RunArtifact(task_id="ingest", output=name.replace("removed", "incoming"), name=name, uri=f"{PAST_RUN}/{name}")
        for name in names
    ]
    return pipelines


def holders_of(room: Room, strike: Strike | None = None) -> Holders:
    ports: list[Any] = [room.labels, room.datasets, room.objects]
    labels, datasets, objects = ports if strike is None else [Watched(port, strike) for port in ports]
    erasures = Erasures(objects, "ratchet")
    journal = RunJournal(objects, "ratchet")
    return Holders(
        labels,
        datasets,
        erasures,
        Sketches(objects, "ratchet"),
        Findings(objects, "ratchet"),
        ExampleSignatures(objects, "ratchet"),
        journal,
        lambda _, versions: sorted(f"model of {name}" for name in versions),
        SPEC.examples,
        Logs(
            PayloadFiles(objects, "ratchet"),
            FeedbackFiles(objects, "ratchet"),
            KfpRunTables(past_runs(), objects, state_dir=room.folder),
        ),
    )


def grown(folder: Path) -> Room:
    """Three accepted versions, and labels that wait."""
    room = Room(folder)
    room.objects = Objects()
    for number, rows in enumerate((range(200), range(200, 300), range(300, 350))):
        room.push(digit_labels(list(rows), labeler=f"labeler-{number}"))
        version, _ = room.ingest()
        assert room.validate(version).verdict == "accepted"
    leave_tables(room)
    room.push(digit_labels([7, 400], labeler="late"))
    log_requests(room.objects)
    return room

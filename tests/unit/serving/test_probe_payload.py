"""What the gate asks the model server is what the server reads."""

import pytest

from ratchet.core.models.probe_payload import probe_payload
from ratchet.serving.inputs import parse_instances
from ratchet.serving.request_images import RequestImages
from ratchet.training.made_up import made_up_rows
from tests.models import DIGITS
from tests.unit.serving.typed_model import INPUTS, spec_of


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec_of(), id="every-type"),
        pytest.param(DIGITS, id="one-vector"),
        pytest.param(spec_of(inputs=[{"name": "body", "type": "text"}]), id="one-text"),
        pytest.param(spec_of(inputs=[INPUTS[6]]), id="one-image"),
    ],
)
def test_the_server_reads_the_very_rows_that_the_gate_asks_about(spec):
    rows, _ = made_up_rows(spec.examples, 9)
    read = parse_instances(
        {"instances": probe_payload(rows, spec.examples)}, schema=spec.examples, images=RequestImages()
    )
    assert read.to_pylist() == rows.to_pylist()

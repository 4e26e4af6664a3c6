"""What validate finds out about labelers makes new labels worth less, or not."""

from pathlib import Path

import pytest

from ratchet.stores.signals import Signals
from tests.components.data import Room, digit_labels


@pytest.mark.parametrize(
    ("num_rows", "num_wrong", "expected"),
    [
        pytest.param(30, 0, [], id="too-few-to-say"),
        pytest.param(300, 0, [False], id="careful"),
        pytest.param(300, 120, [True], id="careless"),
    ],
)
def test_label_quality_is_a_signal(tmp_path: Path, num_rows: int, num_wrong: int, expected: list[bool]) -> None:
    room = Room(tmp_path)
    room.push(digit_labels(range(num_rows), num_wrong=num_wrong))
    if num_rows > 30:
        room.push(digit_labels(range(num_rows, 2 * num_rows), labeler="bo"))
    room.validate(room.ingest()[0])
    signals = Signals(room.objects, "ratchet").fetch("digits")
    assert [(signal.kind, signal.is_bad) for signal in signals] == [("label_quality", is_bad) for is_bad in expected]
    assert all("'ada'" in signal.text for signal in signals if signal.is_bad)

import json

import numpy as np
import pytest
import torch

from demo import story
from demo.data import careful_labels, careless_labels, load_scans
from demo.observe import TrafficLog
from demo.tasks import ContrastDigits
from demo.traffic import next_send_at
from ratchet.core.labels.parsing import parse_labels
from ratchet.core.labels.shards import split_of
from tests.models import DIGITS


@pytest.fixture(scope="module")
def scans():
    return load_scans()


def test_the_careless_labeler_is_wrong_on_a_third_and_the_careful_never(scans):
    careful = [json.loads(line) for line in careful_labels(scans, range(90), labelers=("anna", "ben"))]
    careless = [json.loads(line) for line in careless_labels(scans, range(90), labeler="carl")]
    wrong = [one["id"] for one, other in zip(careful, careless, strict=True) if one["label"] != other["label"]]
    assert all(int(one["label"]) == scans.digits_N[index] for index, one in enumerate(careful))
    assert len(wrong) == 30


def test_all_lines_are_labels_that_the_task_accepts(scans):
    lines = careful_labels(scans, range(20), labelers=("anna",)) + careless_labels(scans, range(20), labeler="carl")
    assert len(list(parse_labels(map(str.encode, lines), schema=DIGITS.examples, where="demo"))) == 40


def test_contrast_stretching_chokes_on_an_empty_sheet_and_on_no_labelled_row(scans):
    task = ContrastDigits(DIGITS)
    labelled = task.preprocess(scans.pixels_NF)
    empty_sheet = task.preprocess(np.zeros((1, 64)))
    assert torch.isfinite(labelled).all()
    assert not torch.isfinite(empty_sheet).all()


def test_the_acts_share_no_scan_but_those_that_carl_labels_again():
    acts = [set(story.FIRST), set(story.MORE), set(story.LAST)]
    assert not acts[0] & acts[1] and not acts[1] & acts[2] and not acts[0] & acts[2]
    assert len(set(story.CARELESS) & set(story.MORE)) == 100
    assert not set(story.CARELESS) & acts[2]
    assert any(split_of(f"scan-{index:04d}") == "test" for index in story.FIRST)


@pytest.mark.parametrize(
    ("seen", "is_told"),
    [
        pytest.param([0, 10, 50, 100], True, id="each-step"),
        pytest.param([100, 0, 10, 50, 100], True, id="after-the-old-champion"),
        pytest.param([0, 10, 100], False, id="a-step-left-out"),
        pytest.param([50, 10, 100], False, id="backwards"),
        pytest.param([], False, id="nothing-seen"),
    ],
)
def test_steps_are_told_only_when_all_were_seen_in_order(seen, is_told):
    assert story.is_subsequence([10, 50, 100], seen) is is_told


@pytest.mark.parametrize(
    ("now", "next_at"),
    [
        pytest.param(9.0, 10.1, id="in-time"),
        pytest.param(10.4, 10.1, id="a-little-late-catches-up"),
        pytest.param(40.0, 39.5, id="held-up-for-long-drops-what-it-missed"),
    ],
)
def test_users_who_were_held_up_do_not_send_all_at_once(now, next_at):
    assert next_send_at(10.0, rate_per_s=10, now=now) == pytest.approx(next_at)


def test_the_traffic_log_is_read_on_without_half_lines(tmp_path):
    log = TrafficLog(tmp_path / "traffic.jsonl")
    line = json.dumps({"t": 1.0, "status": 200, "revision": "r1", "model": "m", "latency_ms": 3.0})
    log.path.write_text(line + "\n" + line[:20])
    log.read_new()
    assert len(log.answers) == 1
    with log.path.open("a") as file:
        file.write(line[20:] + "\n" + line.replace("200", "500") + "\n")
    log.read_new()
    assert [answer.status for answer in log.answers] == [200, 200, 500]
    assert len(log.failures()) == 1

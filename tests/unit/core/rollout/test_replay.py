"""`ratchet judge replay`: the verdict of a plain request trace, the same every time."""

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.rollout.history import History, replay_looks
from ratchet.core.rollout.picture import render_terminal
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Look
from ratchet.core.rollout.report import render_report
from ratchet.core.rollout.trace import parse_trace, replay

pytestmark = pytest.mark.slow

POLICY = RolloutPolicy(hold_s_max=120)


def trace(
    *,
    error_ratio: float = 0.0,
    slow_ratio: float = 0.0,
    duration_s: int = 60,
    canary_share: float = 0.1,
    client_status: int = 0,
) -> str:
    """client_status: what either revision answers to four of five requests, because a client breaks them."""
    rng = random.Random(1)
    lines = []
    for number in range(duration_s * 80):
        is_canary = rng.random() < canary_share
        status = 500 if is_canary and rng.random() < error_ratio else 200
        status = client_status if client_status and rng.random() < 0.8 else status
        latency_ms = 900.0 if is_canary and rng.random() < slow_ratio else 5.0 + 10 * rng.random()
        revision = "canary" if is_canary else "stable"
        lines.append(json.dumps({"t": number / 80, "revision": revision, "status": status, "latency_ms": latency_ms}))
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        pytest.param(trace(), "promoted", id="healthy"),
        pytest.param(trace(error_ratio=0.04), "withdrawn", id="errs-a-little"),
        pytest.param(trace(error_ratio=0.2), "rolled_back", id="errs"),
        pytest.param(trace(slow_ratio=0.3), "rolled_back", id="slow"),
        pytest.param(trace(duration_s=3), "inconclusive", id="ends-too-soon"),
        pytest.param(trace(client_status=500), "inconclusive", id="a-client-breaks-four-of-five-in-both"),
        pytest.param(trace(client_status=400, error_ratio=0.5), "rolled_back", id="errs-among-refused-requests"),
        pytest.param(trace(canary_share=0), "inconclusive", id="no-canary-traffic"),
        pytest.param("", "inconclusive", id="empty"),
    ],
)
def test_a_trace_has_the_verdict_that_it_would_have_had(text: str, verdict: str) -> None:
    judged, _ = replay(parse_trace(text, where="trace"), POLICY)
    assert judged.verdict == verdict, judged.summary()


def test_a_gap_without_requests_ends_holding_on_time() -> None:
    text = "\n".join((trace(duration_s=3), '{"t": 500, "revision": "canary", "status": 200, "latency_ms": 5}'))
    judged, _ = replay(parse_trace(text, where="trace"), POLICY)
    assert (judged.verdict, judged.inputs["decided_at_s"]) == ("inconclusive", 120)


def test_the_order_of_lines_does_not_matter() -> None:
    lines = trace(error_ratio=0.2).splitlines()
    shuffled = random.Random(2).sample(lines, len(lines))
    first, _ = replay(parse_trace("\n".join(lines), where="trace"), POLICY)
    second, _ = replay(parse_trace("\n".join(shuffled), where="trace"), POLICY)
    assert first == second


def test_recorded_looks_have_the_same_decisions_bit_for_bit() -> None:
    _, history = replay(parse_trace(trace(error_ratio=0.2), where="trace"), POLICY)
    recorded = [Look.model_validate_json(one.look.model_dump_json()) for one in history.looks]
    progress, judged = replay_looks(recorded, POLICY.model_copy(update={"dark_requests": 0}))
    assert judged == history.looks
    assert progress.outcome == "rolled_back"


def test_pictures_show_what_happened() -> None:
    verdict, history = replay(parse_trace(trace(error_ratio=0.2), where="trace"), POLICY)
    text = render_terminal(history, width=100)
    assert "↓" in text
    assert "✗" in text
    assert "roll_back: errors" in text
    page = render_report(verdict, history, title="<script>")
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert render_terminal(History(), width=100) == "no look yet\n"


@pytest.mark.parametrize("width", [1, 40, 80, 300])
def test_the_terminal_picture_keeps_its_width(width: int) -> None:
    _, history = replay(parse_trace(trace(duration_s=20), where="trace"), POLICY)
    drawn = [line for line in render_terminal(history, width=width).splitlines() if "█" in line or "·" in line]
    assert drawn
    assert all(len(line) <= max(width, 40) + 4 for line in drawn)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("{", id="not-json"),
        pytest.param("[]", id="not-an-object"),
        pytest.param('{"t": 0, "revision": "canary", "status": 200}', id="field-missing"),
        pytest.param('{"t": 0, "revision": "blue", "status": 200, "latency_ms": 1}', id="unknown-revision"),
        pytest.param('{"t": 0, "revision": "canary", "status": "200", "latency_ms": 1}', id="status-a-string"),
        pytest.param('{"t": 0, "revision": "canary", "status": 42, "latency_ms": 1}', id="status-of-nothing"),
        pytest.param('{"t": NaN, "revision": "canary", "status": 200, "latency_ms": 1}', id="time-not-a-number"),
        pytest.param('{"t": -1, "revision": "canary", "status": 200, "latency_ms": 1}', id="time-below-zero"),
        pytest.param('{"t": 0, "revision": "canary", "status": 200, "latency_ms": 1e999}', id="latency-infinite"),
    ],
)
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(DataRejected, match=r"t\.jsonl, line 2: .*correct the line"):
        parse_trace(f"{trace(duration_s=1).splitlines()[0]}\n{line}", where="t.jsonl")


def test_the_command_prints_the_same_json_twice(tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text(trace(error_ratio=0.2))
    command = ["judge", "replay", str(tmp_path / "trace.jsonl"), "--policy", "configs/policies/rollout.yaml"]
    first, second = CliRunner().invoke(app, command), CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(first.stdout)["verdict"] == "rolled_back"
    assert first.stdout == second.stdout


def test_the_command_says_which_file_is_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["judge", "replay", str(tmp_path / "no.jsonl")])
    assert isinstance(result.exception, NotFound)

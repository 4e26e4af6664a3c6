"""The sensor's HTTP side, its metrics, its log lines, and where it may listen."""

import io
import json
import logging
import tomllib
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from embedded.layout import Layout
from embedded.object_store import write_webhook
from ratchet.core.errors import SettingsError, Unavailable
from ratchet.settings import Settings
from sensors.json_logs import JsonFormatter
from sensors.label_sensor.__main__ import check_host
from sensors.label_sensor.app import SensorApp, make_app
from sensors.label_sensor.events import BODY_BYTES_MAX
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.metrics import SensorMetrics
from sensors.label_sensor.tick import TickReport
from tests.unit.sensors.label_sensor.test_events import SHARD, of_filer, of_s3
from tests.unit.sensors.label_sensor.test_loop import Ticks, report, wait_for
from tests.unit.sensors.label_sensor.test_tick import NOON
from wire.heartbeat import problem_in

TOKEN = {"authorization": "Bearer s3cret"}


def service_of(tick=None, *, token: str = "", interval_s: float = 3600) -> SensorApp:
    loop = SensorLoop(tick or Ticks(), lambda: ["digits"], interval_s=interval_s)
    return SensorApp(loop=loop, list_tasks=lambda: ["digits"], token=token)


def samples_of(text: str) -> dict[str, float]:
    """`name{label=value,…}` to number; what Prometheus's own parser makes of a scrape."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_what_the_service_tells():
    service = service_of(interval_s=0.01)
    with TestClient(make_app(service)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/healthz").json() == {"alive": True}
        told = client.get("/status").json()["tasks"][0]
        assert (told["task"], told["outcome"], told["reason"], len(told["history"])) == ("digits", "skip", "quiet", 1)
        number = client.post("/tick", params={"task": "digits"}).json()["tick"]
        wait_for(lambda: client.get("/status").json()["tasks"][0]["num_ticks"] >= number)
        assert client.post("/tick", params={"task": "nobody"}).status_code == 404
    assert "has ended" in problem_in(service.loop.heartbeats)


def test_the_service_is_alive_but_not_ready_while_a_server_is_down():
    def fail(task: str) -> TickReport:
        raise Unavailable("KFP is down")

    service = service_of(fail, interval_s=0.01)
    with TestClient(make_app(service)) as client:
        wait_for(lambda: service.loop.has_looked)
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "KFP is down" in answer.json()["failing"]["digits"]


def test_a_tick_that_never_ends_makes_the_service_unwell(monkeypatch):
    monkeypatch.setattr("sensors.label_sensor.loop.STUCK_AFTER_S", 0.02)
    ticks = Ticks("digits")
    with TestClient(make_app(service_of(ticks))) as client:
        wait_for(lambda: client.get("/healthz").status_code == 503)
        assert "has not ended a turn for" in client.get("/healthz").json()["problem"]
        ticks.gates["digits"].set()
        wait_for(lambda: client.get("/healthz").status_code == 200)


def test_a_notification_makes_it_look_at_once():
    service = service_of(token="s3cret")
    with TestClient(make_app(service)) as client:
        wait_for(lambda: service.loop.has_looked)
        answer = client.post("/events", json=of_filer(), headers=TOKEN)
        assert (answer.status_code, answer.json()) == (202, {"tasks": ["digits"]})
        wait_for(lambda: service.loop.num_ticks("digits") == 2)
        noise = client.post("/events", json={"Records": [of_s3("digits/notes.txt")]}, headers=TOKEN)
        assert (noise.status_code, noise.json()) == (202, {"tasks": []})
        samples = samples_of(client.get("/metrics").text)
    assert service.loop.num_ticks("digits") == 2, "noise makes no tick"
    assert samples["ratchet_sensor_hints_total{task=digits}"] == 1
    assert samples["ratchet_sensor_events_ignored_total{}"] == 1
    assert samples["ratchet_sensor_event_requests_total{status=202}"] == 2


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        pytest.param(b"{}", {}, 401, "RATCHET_SENSOR_TOKEN", id="no token"),
        pytest.param(b"{}", {"authorization": "Bearer wrong"}, 401, "RATCHET_SENSOR_TOKEN", id="wrong token"),
        pytest.param(b"nonsense", TOKEN, 400, "not JSON", id="malformed"),
        pytest.param(b" " * (BODY_BYTES_MAX + 1), TOKEN, 413, "1,048,576", id="too large"),
    ],
)
def test_what_is_no_notification_is_refused(body, headers, status, said):
    service = service_of(token="s3cret")
    with TestClient(make_app(service)) as client:
        answer = client.post("/events", content=body, headers=headers)
        samples = samples_of(client.get("/metrics").text)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.json()
    assert samples[f"ratchet_sensor_event_requests_total{{status={status}}}"] == 1
    assert (answer.headers.get("www-authenticate", "").startswith("Bearer")) == (status == 401)


def test_ticking_by_hand_and_looking_need_the_token_and_numbers_do_not():
    with TestClient(make_app(service_of(token="s3cret"))) as client:
        assert client.post("/tick", params={"task": "digits"}).status_code == 401
        assert client.post("/tick", params={"task": "digits"}, headers=TOKEN).status_code == 202
        assert client.post("/tick", params={"task": "digits"}, headers={"authorization": "s3cret"}).status_code == 202
        assert client.get("/status").status_code == 401
        assert client.get("/status", headers=TOKEN).status_code == client.get("/metrics").status_code == 200


def test_what_prometheus_sees():
    metrics = SensorMetrics()
    fields: dict[str, Any] = {
        "num_pending": 150,
        "threshold": 200,
        "threshold_now": 100,
        "num_by_class": {"3": 40},
        "oldest_at": NOON,
    }
    metrics.note_tick(report(**fields), 0.2)
    metrics.note_tick(report(**{**fields, "num_by_class": {}}), 0.2)
    started = {"outcome": "trigger", "code": "max_age", "submit_s": 0.3, "newest_at": NOON}
    metrics.note_tick(report(**{**fields, **started, "num_by_class": {}}), 0.4)
    metrics.note_tick(report(outcome="error", code="error"), 4.0)
    samples = samples_of(metrics.render().decode())
    assert samples["ratchet_sensor_pending_labels{task=digits}"] == 150, "an error does not make it 0"
    assert samples["ratchet_sensor_pending_labels_of_class{label=3,task=digits}"] == 0, "they were taken"
    assert samples["ratchet_sensor_threshold_labels{task=digits}"] == 100
    assert samples["ratchet_sensor_oldest_label_age_seconds{task=digits}"] > 0
    assert samples["ratchet_sensor_last_tick_age_seconds{task=digits}"] < 10
    assert samples["ratchet_sensor_ticks_total{code=short,outcome=skip,task=digits}"] == 2
    assert samples["ratchet_sensor_ticks_total{code=max_age,outcome=trigger,task=digits}"] == 1
    assert samples["ratchet_sensor_ticks_total{code=error,outcome=error,task=digits}"] == 1
    assert samples["ratchet_sensor_tick_seconds_count{task=digits}"] == 4
    assert samples["ratchet_sensor_submit_seconds_sum{task=digits}"] == 0.3
    assert samples["ratchet_sensor_lag_seconds_count{task=digits}"] == 1
    metrics.forget("digits")
    left = samples_of(metrics.render().decode())
    assert not [name for name in left if "pending" in name or "_age_" in name]


def test_a_log_line_is_one_object_and_holds_no_secret():
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(JsonFormatter(secrets=["s3cret", 'q"uote', "schlüssel", ""]))
    log = logging.Logger("sensor")
    log.addHandler(handler)
    log.info("tick of %s\ns3cret, schlüssel", "digits", extra={"task": "digits", "run_id": None, "header": 'q"uote'})
    try:
        raise ValueError("s3cret")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, output.getvalue().splitlines())
    assert first.pop("at").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "sensor",
        "message": "tick of digits\n***, ***",
        "task": "digits",
        "header": "***",
    }
    assert second["exception"].endswith("ValueError: ***")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_on_loopback_it_needs_no_token(host):
    check_host(host, Settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "sensor.example"])
def test_elsewhere_it_does(host):
    with pytest.raises(SettingsError, match="RATCHET_SENSOR_TOKEN"):
        check_host(host, Settings())
    check_host(host, Settings.model_validate({"sensor_token": "s3cret"}))


def test_the_webhook_of_the_embedded_store_goes_with_its_sensor(tmp_path):
    layout = Layout(state_dir=tmp_path)
    path = layout.object_store / "notification.toml"
    write_webhook(layout, sensor_endpoint="http://127.0.0.1:18900", token='s3c"ret', bucket="labels")
    told = tomllib.loads(path.read_text())["notification"]["webhook"]
    assert (told["endpoint"], told["bearer_token"]) == ("http://127.0.0.1:18900/events", 's3c"ret')
    assert (told["enabled"], told["path_prefixes"]) == (True, ["/buckets/labels/"])
    assert path.stat().st_mode & 0o077 == 0
    write_webhook(layout, sensor_endpoint="", token="", bucket="labels")
    assert not path.exists(), "a store without a sensor sends nothing"


def test_the_shard_of_these_tests_is_one():
    assert SHARD.startswith("digits/2026/05/04/")

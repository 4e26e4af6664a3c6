"""Each construct of the DSL, run by the real server through the real client: the states that the backend gives."""

import re
from pathlib import Path
from typing import Any

import kfp
import pytest

from tests.embedded import kfp_constructs as constructs
from tests.embedded import kfp_value_constructs as values
from tests.embedded.kfp_server import KfpServer, run_pipeline, wait_until

OK, SKIPPED, FAILED = "SUCCEEDED", "SKIPPED", "FAILED"


def outcome_of(detail: dict[str, Any]) -> Any:
    """The one output of a task that succeeded; else its state."""
    outputs = detail["output_parameters"]
    return outputs.get("Output", outputs.get("out", detail["state"])) if detail["state"] == OK else detail["state"]


CASES = [
    pytest.param(
        constructs.sequence, {"number": 5}, OK, {"double": 10, "double-2": 20, "say": "10 then 20"}, id="sequence"
    ),
    pytest.param(constructs.artifacts, {}, OK, {"write": OK, "read": "hello 5"}, id="artifacts"),
    pytest.param(
        constructs.if_on_named_output,
        {},
        OK,
        {"condition-1": OK, "condition-1/say": "high", "condition-2": SKIPPED},
        id="if-on-a-named-output",
    ),
    pytest.param(
        constructs.if_elif_else,
        {},
        OK,
        {
            "condition-branches-1/condition-2": SKIPPED,
            "condition-branches-1/condition-3/say-2": "B",
            "condition-branches-1/condition-4": SKIPPED,
            "say-4": "B",
        },
        id="elif-and-one-of",
    ),
    pytest.param(
        constructs.if_elif_else,
        {"choice": "z"},
        OK,
        {"condition-branches-1/condition-3": SKIPPED, "condition-branches-1/condition-4/say-3": "C", "say-4": "C"},
        id="else-and-one-of",
    ),
    pytest.param(
        constructs.loop_static,
        {},
        OK,
        {"for-loop-2/1/say-2": "q", "for-loop-2/0/say-3": "outer", "for-loop-2/1/say-3": "outer", "join": "p,q"},
        id="static-loop-over-an-outer-output",
    ),
    pytest.param(
        constructs.loop_dynamic_nested,
        {},
        OK,
        {
            "for-loop-1/1/double": 4,
            "for-loop-1/0/for-loop-2/1/say": "b",
            "for-loop-1/1/say-2": "y",
        },
        id="dynamic-loops-nested",
    ),
    pytest.param(constructs.loop_empty, {}, OK, {"for-loop-1": OK, "join": ""}, id="loop-over-nothing"),
    pytest.param(constructs.loop_artifacts, {}, OK, {"read-all": "a,b"}, id="collected-artifacts"),
    pytest.param(
        constructs.loop_with_if,
        {},
        OK,
        {"for-loop-2/0/condition-3": SKIPPED, "for-loop-2/1/condition-3/double": 4, "for-loop-2": OK},
        id="if-in-a-loop",
    ),
    pytest.param(
        constructs.nested,
        {},
        OK,
        {"inner/say": "given", "inner-2/say": "inner default", "say": "given"},
        id="nested-pipelines",
    ),
    pytest.param(
        constructs.exit_after_success, {}, OK, {"report": "ops COMPLETE exit-handler-1 None"}, id="exit-handler-green"
    ),
    pytest.param(
        constructs.exit_after_failure,
        {},
        FAILED,
        {
            "exit-handler-1": FAILED,
            "exit-handler-1/fail": FAILED,
            "exit-handler-1/say": SKIPPED,
            "report": "alarm FAILED exit-handler-1 None",
        },
        id="exit-handler-red",
    ),
    pytest.param(
        constructs.failure_skips_dependents,
        {},
        FAILED,
        {"fail": FAILED, "say": SKIPPED, "say-2": "independent"},
        id="dependents-of-a-failure-are-skipped",
    ),
    pytest.param(constructs.ignore_failure, {}, FAILED, {"fail": FAILED, "say": "after"}, id="ignore-upstream-failure"),
    pytest.param(
        constructs.optional_inputs, {}, OK, {"maybe": "None 3", "maybe-2": "None 4"}, id="optional-inputs-left-out"
    ),
    pytest.param(
        constructs.optional_inputs, {"text": "t", "number": 9}, OK, {"maybe": "t 3", "maybe-2": "None 9"}, id="given"
    ),
    pytest.param(
        constructs.container, {}, OK, {"say": "<hi> plain", "shell-2": "<hi> extra"}, id="container-component"
    ),
    pytest.param(
        constructs.variables,
        {},
        OK,
        {"environment": "value", "environment-2": "s3cret", "environment-3": "unset"},
        id="variables-and-secrets",
    ),
    pytest.param(constructs.secret_missing, {}, FAILED, {"environment": FAILED}, id="secret-that-is-not-there"),
    pytest.param(constructs.timeout, {}, FAILED, {"sleep": FAILED}, id="task-timeout"),
]


@pytest.mark.parametrize(("pipeline", "arguments", "state", "expected"), CASES)
def test_construct_runs_as_on_a_cluster(
    server: KfpServer, client: kfp.Client, tmp_path: Path, pipeline: Any, arguments: Any, state: str, expected: Any
) -> None:
    run_id = run_pipeline(client, pipeline, tmp_path, arguments)
    run = server.wait_for(run_id)
    tasks = server.tasks_of(run_id)
    assert run["state"] == state, run.get("error")
    assert {path: outcome_of(tasks[path]) for path in expected} == expected


VALUE_CASES = [
    pytest.param(values.exit_task_fails, OK, {"exit-handler-1": OK, "fail": FAILED}, id="exit-task-that-fails"),
    pytest.param(
        values.output_never_written,
        FAILED,
        {"writes-one-of-two": FAILED, "maybe": SKIPPED},
        id="output-never-written",  # component/launcher_v2.go, collectOutputParameters
    ),
    pytest.param(
        values.output_as_go_reads_it,
        OK,
        {"writes-text": 10.5, "condition-1/say": "10.5"},
        id="output-read-as-go-reads-it",  # metadata/converter.go, TextToPbValue
    ),
    pytest.param(
        values.numbers_in_arguments,
        OK,
        {
            "says-numbers": '1.2345675e+06|3000000|[{"a":1e-7,"z":"\\u003c"}]|left out|',
            "says-numbers-2": "1e-05|9007199254740992|[]|given|",
        },
        id="numbers-in-arguments",  # driver/util.go, pbValueToString and resolveCondition
    ),
]


@pytest.mark.parametrize(("pipeline", "state", "expected"), VALUE_CASES)
def test_values_are_read_and_written_as_on_a_cluster(
    server: KfpServer, client: kfp.Client, tmp_path: Path, pipeline: Any, state: str, expected: Any
) -> None:
    run_id = run_pipeline(client, pipeline, tmp_path)
    run = server.wait_for(run_id)
    tasks = server.tasks_of(run_id)
    assert run["state"] == state, run.get("error")
    assert {path: outcome_of(tasks[path]) for path in expected} == expected


def test_a_run_is_named_as_its_workflow_would_be(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    """driver/resolve.go, resolveInputParameter: opts.RunName is the Workflow's name; the error has no fields yet."""
    shown_id = run_pipeline(client, values.all_placeholders, tmp_path)
    told_id = run_pipeline(client, values.final_status, tmp_path)
    run = server.wait_for(shown_id)
    name, resource, job, task, task_id = server.tasks_of(shown_id)["show-run"]["output_parameters"]["Output"].split("|")
    assert (name, job, task) == (run["display_name"], shown_id, "show-run")
    assert re.fullmatch("shown-[a-z0-9]{5}", resource) and re.fullmatch("[0-9]+", task_id)
    server.wait_for(told_id)
    told = server.tasks_of(told_id)["show-status"]["output_parameters"]["Output"]
    assert re.fullmatch("FAILED exit-handler-1 told-[a-z0-9]{5} None None", told)


def test_importer_gives_a_local_file_with_its_metadata(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("content")
    run_id = run_pipeline(client, constructs.import_file, tmp_path, {"uri": str(tmp_path / "data.txt")})
    server.wait_for(run_id)
    assert server.tasks_of(run_id)["read"]["output_parameters"] == {"Output": "content 7"}


def test_failing_task_is_retried_until_it_succeeds(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.retries, tmp_path, {"folder": str(tmp_path)})
    assert server.wait_for(run_id)["state"] == OK
    task = server.tasks_of(run_id)["fail-until-third"]
    assert task["attempt"] == 2
    assert "not yet" in server.get(f"runs/{run_id}/tasks/fail-until-third/log")


def test_placeholders_are_the_run_and_the_task(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.placeholders, tmp_path)
    server.wait_for(run_id)
    outputs = {path: task["output_parameters"]["Output"] for path, task in server.tasks_of(run_id).items()}
    assert outputs == {"say": run_id, "say-2": "say-2"}


def test_second_run_takes_from_the_cache_only_what_may_be_cached(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    for _ in range(2):
        run_id = run_pipeline(client, constructs.cached, tmp_path, {"folder": str(tmp_path)})
        assert server.wait_for(run_id)["state"] == OK
    calls = sorted(path.name.partition("-")[0] for path in tmp_path.glob("*-*") if path.suffix != ".yaml")
    assert calls == ["cached", "never", "never"]
    assert server.tasks_of(run_id)["count-call"]["is_cached"]
    assert "cache" in server.get(f"runs/{run_id}/tasks/count-call/log")


def test_terminate_stops_the_process_runs_the_exit_task_and_ends_the_wait(
    server: KfpServer, client: kfp.Client, tmp_path: Path
) -> None:
    mark = tmp_path / "started"
    run_id = run_pipeline(client, constructs.long_with_exit, tmp_path, {"mark": str(mark)})
    wait_until(mark.exists, within_s=20, what="the task runs")
    client.terminate_run(run_id)
    run = client.wait_for_run_completion(run_id, timeout=20, sleep_duration=1)
    tasks = server.tasks_of(run_id)
    assert (run.state, run.error.message) == (FAILED, "terminated")
    assert "CANCELING" in [entry.state for entry in run.state_history]
    assert tasks["exit-handler-1/sleep"]["state"] == "CANCELED"
    assert tasks["report"]["output_parameters"]["Output"].startswith("ops CANCELED exit-handler-1")


def test_retry_runs_only_what_did_not_succeed(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.fails_once, tmp_path, {"folder": str(tmp_path)})
    assert server.wait_for(run_id)["state"] == FAILED
    (tmp_path / "try-extra").touch()
    server.post(f"runs/{run_id}:retry")
    assert server.wait_for(run_id)["state"] == OK
    assert len(list(tmp_path.glob("first-*"))) == 1


def test_logs_and_artifacts_of_a_task_are_at_its_address(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.artifacts, tmp_path, enable_caching=False)
    server.wait_for(run_id)
    artifacts = {entry["output"]: entry for entry in server.get(f"runs/{run_id}/artifacts")["artifacts"]}
    assert Path(artifacts["out"]["path"]).read_text() == "hello"
    assert artifacts["metrics"]["metadata"] == {"length": 5}
    assert "KFP Executor" in server.get(f"runs/{run_id}/tasks/write/log")


def test_settings_without_meaning_are_named_in_the_log(server: KfpServer, client: kfp.Client, tmp_path: Path) -> None:
    run_id = run_pipeline(client, constructs.variables, tmp_path, enable_caching=False)
    server.wait_for(run_id)
    assert "node_selector has no meaning" in server.get(f"runs/{run_id}/tasks/environment-2/log")

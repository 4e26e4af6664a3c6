"""The REST surface, as the unmodified kfp.Client and the kfp command use it."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kfp
import kfp_server_api
import pytest
from kfp import compiler

from ratchet.settings import child_env
from tests.embedded import kfp_constructs as constructs
from tests.embedded.kfp_server import KfpServer, quiet, run_pipeline


@pytest.fixture(scope="module")
def package(server: KfpServer) -> str:
    path = server.folder / "sequence.yaml"
    compiler.Compiler().compile(constructs.sequence, str(path))
    return str(path)


def predicate(key: str, value: str, operation: str | int = "EQUALS", kind: str = "stringValue") -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, kind: value}]})


def test_a_fresh_server_has_the_default_experiment(server: KfpServer, client: kfp.Client) -> None:
    """First in the module: no request has made it. Four clients that begin at once find it, and none makes another."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: client.create_experiment("Default").experiment_id, range(4)))
    found = server.get("experiments")["experiments"]
    assert [one["display_name"] for one in found] == ["Default"]
    assert set(made) == {found[0]["experiment_id"]}


def test_pipeline_is_uploaded_found_versioned_and_deleted(client: kfp.Client, package: str) -> None:
    with quiet():
        pipeline = client.upload_pipeline(package, pipeline_name="train", description="d")
        version = client.upload_pipeline_version(package, "v2", pipeline_name="train")
    assert client.get_pipeline_id("train") == pipeline.pipeline_id
    assert client.get_pipeline_id("nothing") is None
    versions = client.list_pipeline_versions(pipeline.pipeline_id, sort_by="created_at desc").pipeline_versions
    assert [one.display_name for one in versions] == ["v2", "train"]
    stored = client.get_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    assert stored.pipeline_spec["pipelineInfo"]["name"] == "sequence"
    client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    client.delete_pipeline(pipeline.pipeline_id)
    assert client.get_pipeline_id("train") is None


def test_second_upload_of_a_name_conflicts_and_says_so(client: kfp.Client, package: str) -> None:
    with quiet():
        client.upload_pipeline(package, pipeline_name="twice")
        with pytest.raises(kfp_server_api.ApiException) as refused:
            client.upload_pipeline(package, pipeline_name="twice")
    assert refused.value.status == 409
    body = json.loads(refused.value.body)
    assert body.keys() == {"code", "message", "details"} and body["code"] == 6
    assert "twice" in body["message"]


def test_run_of_a_version_takes_its_parameters_as_text_too(server: KfpServer, client: kfp.Client, package: str) -> None:
    with quiet():
        pipeline = client.upload_pipeline(package, pipeline_name="by-version")
        version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
        experiment = client.create_experiment("texts")
        run = client.run_pipeline(
            experiment.experiment_id,
            "typed",
            params={"number": "7"},
            pipeline_id=pipeline.pipeline_id,
            version_id=version.pipeline_version_id,
        )
    done = client.wait_for_run_completion(run.run_id, timeout=20, sleep_duration=1)
    assert done.state == "SUCCEEDED" and done.finished_at
    assert server.tasks_of(run.run_id)["double"]["output_parameters"] == {"Output": 14}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param({"bogus": 1}, "no parameter 'bogus'", id="unknown"),
        pytest.param({"number": "many"}, "expected NUMBER_INTEGER", id="wrong-type"),
        pytest.param({"number": [1]}, "expected NUMBER_INTEGER", id="list-for-a-number"),
    ],
)
def test_bad_parameter_is_refused_before_anything_runs(
    client: kfp.Client, tmp_path: Path, arguments: dict, told: str
) -> None:
    with pytest.raises(kfp_server_api.ApiException) as refused:
        run_pipeline(client, constructs.sequence, tmp_path, arguments)
    assert refused.value.status == 400 and told in refused.value.body


def test_experiment_is_made_once_archived_and_deleted(server: KfpServer, client: kfp.Client) -> None:
    with quiet():
        first, second = client.create_experiment("once"), client.create_experiment("once")
    assert first.experiment_id == second.experiment_id
    client.archive_experiment(first.experiment_id)
    assert client.get_experiment(experiment_id=first.experiment_id).storage_state == "ARCHIVED"
    client.unarchive_experiment(first.experiment_id)
    assert client.get_experiment(experiment_name="once").storage_state == "AVAILABLE"
    client.delete_experiment(first.experiment_id)
    with pytest.raises(kfp_server_api.ApiException) as gone:
        client.get_experiment(experiment_id=first.experiment_id)
    assert gone.value.status == 404 and json.loads(gone.value.body)["code"] == 5


def test_runs_are_filtered_sorted_paged_archived_and_deleted(
    server: KfpServer, client: kfp.Client, package: str
) -> None:
    with quiet():
        experiment = client.create_experiment("many")
        runs = [client.run_pipeline(experiment.experiment_id, f"run {n}", package) for n in range(5)]
    for run in runs:
        server.wait_for(run.run_id)
    chosen = {"experiment_id": experiment.experiment_id}
    for operation in ("EQUALS", 1):
        found = client.list_runs(**chosen, filter=predicate("display_name", "run 3", operation)).runs
        assert [run.display_name for run in found] == ["run 3"]
    assert client.list_runs(**chosen, filter=predicate("name", "N 3", 9, "string_value")).total_size == 1
    assert (
        client.list_runs(**chosen, filter=predicate("state", "FAILED")).runs is None
        or not client.list_runs(**chosen, filter=predicate("state", "FAILED")).runs
    )
    page = client.list_runs(**chosen, page_size=2, sort_by="created_at desc")
    rest = client.list_runs(**chosen, page_size=9, sort_by="created_at desc", page_token=page.next_page_token)
    assert (page.total_size, rest.next_page_token) == (5, None)
    assert [run.display_name for run in page.runs + rest.runs] == [f"run {n}" for n in (4, 3, 2, 1, 0)]
    client.archive_run(runs[0].run_id)
    assert client.get_run(runs[0].run_id).storage_state == "ARCHIVED"
    client.unarchive_run(runs[0].run_id)
    client.delete_run(runs[0].run_id)
    with pytest.raises(kfp_server_api.ApiException):
        client.get_run(runs[0].run_id)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        pytest.param("runs?filter=nonsense", "not JSON", id="filter-is-not-json"),
        pytest.param("runs?sort_by=password", "cannot filter or sort", id="unknown-field"),
        pytest.param("runs?sort_by=created_at%3Bdrop", "cannot filter or sort", id="sql-in-sort"),
        pytest.param("runs?page_token=x", "page_token", id="forged-page-token"),
        pytest.param("runs?page_size=-1", "page_size", id="negative-page-size"),
        pytest.param("runs?page_size=x", "page_size", id="page-size-is-text"),
        pytest.param("runs/..%2F..%2Fetc", "", id="path-as-id"),
    ],
)
def test_bad_request_is_answered_with_a_message_and_no_trace(server: KfpServer, query: str, told: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.get(query)
    body = json.loads(refused.value.read())
    assert refused.value.code in (400, 404)
    assert told in body["message"] and "Traceback" not in body["message"]


def test_recurring_run_is_made_switched_and_deleted(server: KfpServer, client: kfp.Client, package: str) -> None:
    with quiet():
        experiment = client.create_experiment("recurring")
    recurring = client.create_recurring_run(
        experiment.experiment_id,
        "hourly",
        interval_second=3600,
        pipeline_package_path=package,
        max_concurrency=2,
        enabled=False,
        params={"number": 1},
    )
    assert (recurring.status, recurring.max_concurrency) == ("DISABLED", "2")
    client.enable_recurring_run(recurring.recurring_run_id)
    assert client.get_recurring_run(recurring.recurring_run_id).status == "ENABLED"
    listed = client.list_recurring_runs(experiment_id=experiment.experiment_id).recurring_runs
    assert [one.display_name for one in listed] == ["hourly"]
    client.disable_recurring_run(recurring.recurring_run_id)
    client.delete_recurring_run(recurring.recurring_run_id)
    assert not client.list_recurring_runs(experiment_id=experiment.experiment_id).recurring_runs


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        pytest.param({"cron_expression": "0 9 * * 1"}, "0 0 9 * * 1", id="five-fields"),
        pytest.param({"cron_expression": "99 * * * * *"}, "is not a second", id="out-of-range"),
        pytest.param({"interval_second": -5}, "interval_second", id="negative-interval"),
        pytest.param({"interval_second": 60, "max_concurrency": 11}, "1 to 10", id="too-concurrent"),
        pytest.param({"interval_second": 60, "params": {"bogus": 1}}, "bogus", id="unknown-parameter"),
    ],
)
def test_bad_schedule_is_refused_with_what_was_meant(
    client: kfp.Client, package: str, schedule: dict, told: str
) -> None:
    with quiet():
        experiment = client.create_experiment("bad schedules")
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.create_recurring_run(experiment.experiment_id, "bad", pipeline_package_path=package, **schedule)
    assert refused.value.status == 400 and told in json.loads(refused.value.body)["message"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("a: [", "not YAML", id="not-yaml"),
        pytest.param("", "0 YAML documents", id="empty"),
        pytest.param("!!python/object/apply:os.system [id]", "not YAML", id="python-object"),
        pytest.param(
            "a: &a [1]\n" + "\n".join(f"b{n}: &b{n} [*a, *a]" for n in range(3)), "pipelineInfo", id="aliases"
        ),
        pytest.param("&a [*a]", "YAML documents", id="recursive"),
        pytest.param("pipelineInfo: {name: ../../x}\nroot: {dag: {}}\nschemaVersion: 2.1.0", "name", id="path-as-name"),
        pytest.param("pipelineInfo: {name: x}\nroot: {dag: {}}\nschemaVersion: 9.9.9", "9.9.9", id="unknown-schema"),
        pytest.param(
            "pipelineInfo: {name: x}\nroot: {dag: {}, magic: 1}\nschemaVersion: 2.1.0", "root.magic", id="unknown-field"
        ),
    ],
)
def test_bad_upload_is_refused_by_name(client: kfp.Client, tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with quiet(), pytest.raises(kfp_server_api.ApiException) as refused:
        client.upload_pipeline(str(path), pipeline_name="bad")
    assert refused.value.status == 400 and told in json.loads(refused.value.body)["message"]


@pytest.mark.parametrize("header", [("Host", "evil.example"), ("Origin", "https://evil.example")])
def test_a_web_page_elsewhere_cannot_use_the_api(server: KfpServer, header: tuple[str, str]) -> None:
    request = urllib.request.Request(f"{server.url}/apis/v2beta1/runs", headers=dict([header]))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    assert refused.value.code == 403


def test_kfp_command_lists_pipelines_and_runs(server: KfpServer, client: kfp.Client, package: str) -> None:
    with quiet():
        client.upload_pipeline(package, pipeline_name="for the command")
        client.create_run_from_pipeline_package(package, run_name="run for the command")
    command = [str(Path(sys.executable).with_name("kfp")), "--endpoint", server.url, "--output", "json"]
    env = child_env({"HOME": str(server.folder)})
    for words, expected in (
        (["pipeline", "list"], "for the command"),
        (["run", "list", "--max-size", "50"], "run for the command"),
    ):
        done = subprocess.run([*command, *words], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout

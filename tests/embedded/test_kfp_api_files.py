"""Logs and artifacts by URL, what happens to them when they are old or too many, and retry of a failed run."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Output

from embedded.control_plane.config import Retention
from embedded.control_plane.engine.log_cap import cut_middle
from embedded.control_plane.kfp.retention import GIB, KeptFiles, plan_removals
from tests.embedded.kfp_server import KfpServer, run_pipeline, wait_until

TOKEN = "let-me-in"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make(page: Output[Dataset], folder: Output[Dataset], link: Output[Dataset]) -> str:
    from pathlib import Path

    Path(page.path).write_text("<script>1</script>")
    Path(folder.path, "part").mkdir(parents=True)
    Path(folder.path, "part", "a.csv").write_text("1,2\n")
    Path(link.path).symlink_to("/etc/passwd")
    return "made"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def need(path: str, text: str) -> str:
    from pathlib import Path

    if not Path(path).exists():
        raise ValueError("no file yet")
    return text + Path(path).read_text()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def shout(num_lines: int):
    print("the first line")
    for number in range(num_lines):
        print(f"{number:09} " + "x" * 990)


@dsl.pipeline(name="files")
def files(path: str, num_lines: int = 0):
    made = make()
    need(path=path, text=made.outputs["Output"]).set_caching_options(False)
    shout(num_lines=num_lines).set_caching_options(False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KfpServer, str, Path]]:
    """A server that keeps the files of one run, with one finished run that failed once and was retried."""
    folder = tmp_path_factory.mktemp("files")
    server = KfpServer(folder, options={"--keep-runs": 1, "--log-limit-mib": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        server.start()
        needed = folder / "needed"
        run_id = run_pipeline(server.client(), files, folder, {"path": str(needed), "num_lines": 5000})
        assert server.wait_for(run_id)["state"] == "FAILED"
        yield server, run_id, needed
        server.stop()


def answer_of(server: KfpServer, path: str, method: str = "GET") -> Any:
    return urllib.request.urlopen(urllib.request.Request(server.url + path, method=method), timeout=10)


def test_a_failed_run_goes_on_from_its_failed_task(world: tuple[KfpServer, str, Path]) -> None:
    server, run_id, needed = world
    before = server.tasks_of(run_id)
    assert before["make"]["state"] == "SUCCEEDED" and "no file yet" in before["need"]["error"]["message"]
    needed.write_text("!")
    server.post(f"runs/{run_id}:retry")
    run = server.wait_for(run_id)
    assert (run["state"], "error" in run) == ("SUCCEEDED", False)
    after = server.tasks_of(run_id)
    assert after["need"]["output_parameters"] == {"Output": "made!"}
    assert after["make"]["end_time"] == before["make"]["end_time"], "what had succeeded did not run again"
    assert all(task["create_time"] <= task["start_time"] <= task["end_time"] for task in after.values())
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post(f"runs/{run_id}:retry")
    assert refused.value.code == 400


def test_an_artifact_is_downloaded_with_its_size_and_as_no_page_of_ours(world: tuple[KfpServer, str, Path]) -> None:
    server, run_id, _ = world
    listed = {one["output"]: one for one in server.get(f"runs/{run_id}/artifacts")["artifacts"]}
    with answer_of(server, listed["page"]["url"]) as answer:
        assert answer.read() == b"<script>1</script>"
        assert answer.headers["content-length"] == "18"
        assert answer.headers["content-security-policy"] == "sandbox"
    with answer_of(server, listed["page"]["url"], "HEAD") as answer:
        assert answer.headers["content-length"] == "18"
    with answer_of(server, listed["folder"]["url"]) as answer:
        assert json.load(answer) == {"files": [{"file": "part/a.csv", "size_bytes": 4}]}
    with answer_of(server, listed["folder"]["url"] + "&file=part/a.csv") as answer:
        assert (answer.read(), answer.headers.get_content_type()) == (b"1,2\n", "text/csv")
    assert server.get(f"runs/{run_id}/nodes/make/artifacts/page:read") == {"data": "PHNjcmlwdD4xPC9zY3JpcHQ+"}


@pytest.mark.parametrize(
    ("query", "told"),
    [
        pytest.param("task_id=make&output=link", "outside the artifacts folder", id="link-to-elsewhere"),
        pytest.param(
            "task_id=make&output=folder&file=../../../../../engine_id", "outside the artifacts folder", id="dots"
        ),
        pytest.param("task_id=make&output=folder&file=/etc/passwd", "outside the artifacts folder", id="absolute"),
        pytest.param("task_id=make&output=page&index=7", "no artifact", id="index-that-is-none"),
        pytest.param("task_id=nobody&output=page", "no task", id="task-that-is-none"),
    ],
)
def test_nothing_but_artifacts_is_given_out(world: tuple[KfpServer, str, Path], query: str, told: str) -> None:
    server, run_id, _ = world
    with pytest.raises(urllib.error.HTTPError) as refused:
        answer_of(server, f"/apis/v2beta1/runs/{run_id}/artifacts/content?{query}")
    assert refused.value.code == 404 and told in json.load(refused.value)["message"]


def test_a_log_that_is_too_long_keeps_its_beginning_and_its_end(world: tuple[KfpServer, str, Path]) -> None:
    server, run_id, _ = world
    log = server.folder / "data" / "logs" / run_id / "shout" / "attempt-0.log"
    wait_until(lambda: log.stat().st_size < 1_100_000, within_s=5, what="the log is cut")
    text = server.get(f"runs/{run_id}/tasks/shout/log")
    assert "the first line" in text and "bytes were cut out here" in text and "000004999 xxx" in text


def test_old_files_go_at_the_next_start_and_the_record_says_so(world: tuple[KfpServer, str, Path]) -> None:
    server, old, needed = world
    wait_until(lambda: server.wait_for(old), within_s=10, what="it has ended")
    newer = run_pipeline(server.client(), files, server.folder, {"path": str(needed)})
    assert server.wait_for(newer)["state"] == "SUCCEEDED"
    assert server.tasks_of(newer)["make"]["is_cached"]
    server.stop()
    server.start()
    logs = server.folder / "data" / "logs"
    wait_until(lambda: not (logs / old).exists(), within_s=10, what="the logs of the older run are removed")
    assert (logs / newer).exists()
    assert "were removed" in server.get(f"runs/{old}/tasks/make/log")
    assert server.get(f"runs/{old}")["state"] == "SUCCEEDED" and server.tasks_of(old)["make"]["state"] == "SUCCEEDED"
    listed = server.get(f"runs/{newer}/artifacts")["artifacts"]
    assert all(Path(one["uri"]).exists() for one in listed), "a cached result that a kept run points to stays"


def test_the_docs_page_loads_nothing_and_machines_get_openapi(world: tuple[KfpServer, str, Path]) -> None:
    server, _, _ = world
    with answer_of(server, "/docs") as answer:
        page = answer.read().decode()
    assert "/apis/v2beta1/runs/{run_id}:retry" in page
    assert "<script" not in page and "http" not in page.replace("https://", "http://").partition("<table>")[0]
    with answer_of(server, "/openapi.json") as answer:
        assert "/apis/v2beta1/recurringruns" in json.load(answer)["paths"]


def test_the_links_of_the_client_lead_to_a_page(world: tuple[KfpServer, str, Path], guarded: KfpServer) -> None:
    server, run_id, _ = world
    with answer_of(server, "/") as answer:
        page = answer.read().decode()
        assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert run_id in page.partition("<noscript>")[2], "a reader without JavaScript sees the newest runs"
    with urllib.request.urlopen(f"{guarded.url}/", timeout=5) as answer:
        assert "<tr>" not in answer.read().decode().partition("<noscript>")[2].partition("</noscript>")[0]


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
def test_without_the_token_the_answer_is_401(tmp_path: Path, header: dict[str, str], guarded: KfpServer) -> None:
    request = urllib.request.Request(f"{guarded.url}/apis/v2beta1/runs", headers=header)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    body = json.load(refused.value)
    assert (refused.value.code, body["code"]) == (401, 16) and "--kfp-token-file" in body["message"]
    urllib.request.urlopen(f"{guarded.url}/healthz", timeout=5).close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KfpServer]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "kfp-token").write_text(TOKEN)
    server = KfpServer(folder, options={"--kfp-token-file": folder / "kfp-token"})
    server.start()
    yield server
    server.stop()


def test_our_adapter_sends_the_token_of_the_settings(guarded: KfpServer) -> None:
    from ratchet.adapters.kfp import KfpPipelines
    from ratchet.core.errors import SettingsError
    from ratchet.settings import Settings

    settings = Settings(kfp_endpoint=guarded.url)
    with pytest.raises(SettingsError, match="RATCHET_KFP_TOKEN"):
        KfpPipelines.of(settings)
    assert KfpPipelines.of(settings.model_copy(update={"kfp_token": _secret(TOKEN)})).list_runs() == []


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


def kept(name: str, *, days_ago: float = 0, gib: float = 0, users: str = "", is_deleted: bool = False) -> KeptFiles:
    at = NOON - timedelta(days=days_ago)
    size = int(gib * GIB)
    return KeptFiles(run_id=name, finished_at=at, size_bytes=size, users=frozenset(users), is_deleted=is_deleted)


LIMITS = Retention(keep_days=10, keep_runs=3, disk_quota_gib=5)


@pytest.mark.parametrize(
    ("files", "unfinished", "expected"),
    [
        pytest.param([kept("a", days_ago=9.9), kept("b", days_ago=10.1)], "", {"b": True}, id="too-old"),
        pytest.param([kept(name, days_ago=n) for n, name in enumerate("abcd")], "", {"d": True}, id="too-many"),
        pytest.param([kept("a", gib=3), kept("b", gib=3, days_ago=1)], "", {"b": True}, id="too-large-oldest-goes"),
        pytest.param([kept("a", gib=3), kept("b", gib=2, days_ago=1)], "", {}, id="just-within-the-quota"),
        pytest.param([kept("a"), kept("b", days_ago=11, users="a")], "", {"b": False}, id="needed-by-one-that-stays"),
        pytest.param([kept("b", days_ago=11, users="r")], "r", {"b": False}, id="needed-by-one-that-runs"),
        pytest.param([kept("a", days_ago=11), kept("b", days_ago=12, users="a")], "", {"a": True, "b": True},
                     id="needed-by-one-that-goes-too"),
        pytest.param([kept("a", gib=1), kept("c", gib=2, days_ago=1), kept("b", gib=4, days_ago=2, users="a")], "",
                     {"b": False, "c": True}, id="what-is-needed-frees-no-room"),
        pytest.param([kept("a", is_deleted=True)], "", {"a": True}, id="of-a-deleted-run"),
        pytest.param([], "r", {}, id="nothing"),
    ],
)  # fmt: skip
def test_what_goes_and_what_stays(files: list[KeptFiles], unfinished: str, expected: dict[str, bool]) -> None:
    used = sum(one.size_bytes for one in files)
    plan = plan_removals(files, unfinished=frozenset(unfinished), used_bytes=used, retention=LIMITS, now=NOON)
    assert {one.run_id: one.with_artifacts for one in plan} == expected


def test_without_limits_everything_stays() -> None:
    limits = Retention(keep_days=0, keep_runs=0, disk_quota_gib=0)
    files = [kept(str(n), days_ago=n * 100, gib=100) for n in range(50)]
    assert not plan_removals(files, unfinished=frozenset(), used_bytes=GIB * 5000, retention=limits, now=NOON)


def test_the_notice_counts_what_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {n}\n" for n in range(100_000)))
    size = path.stat().st_size
    gone = cut_middle(path, max_bytes=100_000, num_cut=5)
    text = path.read_text()
    assert text.startswith("line 0\n") and text.endswith("line 99999\n")
    assert f"{gone + 5} bytes were cut out" in text
    assert size - gone <= path.stat().st_size <= size - gone + 200

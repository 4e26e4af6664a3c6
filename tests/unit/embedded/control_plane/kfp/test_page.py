"""The page behind the links of kfp.Client: what it says, and that nothing in it is taken from elsewhere."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedded.control_plane.kfp import page as kfp_page
from embedded.control_plane.kfp.page import HEADERS, render_page

API = "/apis/v2beta1"
SCRIPT = Path(kfp_page.__file__).with_name("page.js")
NASTY = "<img src=x onerror=alert(1)>"
RUN = {
    "run_id": "r1",
    "display_name": NASTY,
    "state": "FAILED",
    "created_at": "2026-01-05T10:00:00.123456Z",
    "experiment_id": "e1",
    "error": {"message": "line 3: no such file"},
    "run_details": {
        "task_details": [
            {"task_id": "loop", "display_name": "loop", "state": "FAILED"},
            {"task_id": "loop/a", "display_name": "train", "state": "FAILED", "parent_task_id": "loop",
             "error": {"message": "exit code 3"}},
            {"task_id": "__proto__", "display_name": "odd", "state": "SUCCEEDED", "parent_task_id": "nobody"},
        ]
    },
}  # fmt: skip
ANSWERS = {
    f"{API}/runs": {"runs": [RUN]},
    f"{API}/runs/r1": RUN,
    f"{API}/runs/r1/artifacts": {"artifacts": [
        {"task_id": "loop/a", "output": "model", "type": "system.Model", "uri": "s3://m/1", "url": f"{API}/runs/r1/x"},
        {"task_id": "loop/a", "output": "evil", "type": "t", "uri": "x", "url": "javascript:alert(1)"},
    ]},
    f"{API}/experiments/e1": {"display_name": "night", "experiment_id": "e1"},
    f"{API}/experiments": {"experiments": [{"display_name": "night", "experiment_id": "e1", "created_at": ""}]},
    f"{API}/pipelines/p1": {"display_name": "retrain"},
    f"{API}/pipelines/p1/versions": {"pipeline_versions": [{"display_name": "v2", "pipeline_version_id": "9"}]},
}  # fmt: skip


def shown(fragment: str, answers: dict[str, Any]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    words = [node, str(Path(__file__).with_name("page_dom.js")), str(SCRIPT), fragment, json.dumps(answers)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_page_is_whole_by_itself_and_its_policy_allows_its_own_script_only() -> None:
    page = render_page([])
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page), "nothing is loaded from elsewhere"
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = HEADERS["content-security-policy"]
    for text in (script, style):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_without_javascript_it_lists_runs_and_escapes_them() -> None:
    page = render_page([{**RUN, "display_name": f"{NASTY}\ud800"}])
    assert NASTY not in page and "&lt;img" in page and page.encode()
    assert page.index("<noscript>") < page.index("&lt;img") < page.index("</noscript>")


def test_a_run_is_shown_with_its_tasks_error_and_artifacts() -> None:
    found = shown("#/runs/details/r1", ANSWERS)
    text = found["text"]
    assert NASTY in text and "line 3: no such file" in text and "2026-01-05 10:00:00 UTC" in text
    assert text.index("loop") < text.index("\u00a0\u00a0\u00a0\u00a0train") < text.index("exit code 3")
    assert "odd" in text, "a task without its parent is shown as well"
    assert f"{API}/runs/r1/x" in found["hrefs"] and "javascript:alert(1)" not in found["hrefs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fragment", "told"),
    [
        ("", "Runs|"),
        ("#/runs", "Runs|"),
        ("#/experiments/details/e1", "Experiment night"),
        ("#/experiments", "Experiments|"),
        ("#/pipelines/details/p1", "Pipeline retrain"),
        ("#/pipelines/details/p1/version/9?x=1", "Pipeline retrain"),
        ("#/runs/details/nobody", "not known"),
        ("#/constructor/details/x", "not known"),
    ],
)
def test_each_link_of_the_client_leads_to_its_page(fragment: str, told: str) -> None:
    assert shown(fragment, ANSWERS)["text"].startswith(told)


def test_a_name_in_a_link_cannot_reach_another_route() -> None:
    assert shown("#/runs/details/..%2F..%2Fsecret", ANSWERS)["asked"] == [f"{API}/runs/..%2F..%2Fsecret"]


def test_an_api_with_a_token_is_asked_for_it() -> None:
    assert "asks for a token" in shown("#/runs", {f"{API}/runs": 401})["text"]

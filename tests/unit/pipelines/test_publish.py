"""Publishing is idempotent. That it is so against KFP itself: tests/contract/test_pipelines.py."""

import subprocess
import sys

import pytest

from pipelines.publish import free_name_of, publish_all, spec_of
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.ports import PipelineVersion
from ratchet.core.runs.cron import check_cron
from tests.fakes.pipelines import FakePipelines


def version(name: str) -> PipelineVersion:
    return PipelineVersion(pipeline="retrain", pipeline_id="p", version_id=name, name=name)


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        pytest.param([], "abc", id="first"),
        pytest.param(["retrain", "def"], "abc", id="others"),
        pytest.param(["abc", "def"], "abc-2", id="had-it-before"),
        pytest.param(["abc", "abc-2", "def"], "abc-3", id="had-it-twice"),
    ],
)
def test_a_version_name_is_never_used_twice(taken, free):
    assert free_name_of("abc", [version(name) for name in taken]) == free


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(NotFound, match="ratchet pipelines compile"):
        publish_all(FakePipelines(), tmp_path)


class Overtaken(FakePipelines):
    """Somebody else publishes right before the first upload."""

    def upload(self, pipeline, path, *, version_name):
        if len(self.list_versions(pipeline)) == 1:
            super().upload(pipeline, path, version_name=version_name)
        return super().upload(pipeline, path, version_name=version_name)


def test_two_publishers_at_once_make_one_version(tmp_path):
    (tmp_path / "retrain.yaml").write_text("a: 1\n")
    catalog = Overtaken()
    assert not publish_all(catalog, tmp_path)[0].is_new
    assert len(catalog.list_versions("retrain")) == 2


def test_a_spec_is_compared_as_kfp_shows_it():
    assert spec_of("root: 1\n") == {"root": 1}
    assert spec_of("root: 1\n---\nplatforms: 2\n") == {"pipeline_spec": {"root": 1}, "platform_spec": {"platforms": 2}}


def test_publishing_imports_no_compiler():
    code = "import sys, pipelines.publish; sys.exit('kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "cron", ["0 0 3 * * *", "*/30 * * * * ?", "0 0 9 ? * 2-6", "0 0 9 * * MON-FRI", "@daily", "@every 1h30m"]
)
def test_schedules_that_kubeflow_reads(cron):
    assert check_cron(cron) == cron


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        pytest.param("0 9 * * 1", "Write '0 0 9 * * 1'", id="five-fields-would-run-at-other-times"),
        pytest.param("", "expected six", id="empty"),
        pytest.param("0 0 3 * * * *", "expected six", id="seven"),
        pytest.param("0 0 3 * * $", "not a weekday of the six fields", id="no-field"),
        pytest.param("@sometimes", "six fields", id="no-shorthand"),
    ],
)
def test_schedules_that_would_not_run_as_meant(cron, said):
    with pytest.raises(DataRejected) as refused:
        check_cron(cron)
    assert said in str(refused.value)

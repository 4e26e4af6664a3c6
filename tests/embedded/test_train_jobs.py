"""TrainJobs through the stock `kubernetes` client: nodes as processes, conditions, logs, restarts, suspension,
deletion, and a control plane that is killed meanwhile."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import ApiException

from tests.embedded.serving_world import wait_for
from tests.embedded.training_world import TrainingWorld, all_pids, environment_of, kill, started_world

SHOW = ["/bin/sh", "-c", "env | grep -e ^PET_ -e ^PASSED | sort; echo to stderr >&2"]
SLEEP = ["/bin/sh", "-c", "echo began; sleep 600"]
FAIL = ["/bin/sh", "-c", "echo no; exit 3"]
RENDEZVOUS = """
import os, torch.distributed as dist
dist.init_process_group("gloo")
ranks = [None] * dist.get_world_size()
dist.all_gather_object(ranks, (dist.get_rank(), os.environ["GROUP_RANK"]))
print("gathered", ranks)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingWorld]:
    with started_world(tmp_path_factory.mktemp("training")) as world:
        yield world


def test_each_node_gets_what_torchrun_needs_and_the_job_completes(world: TrainingWorld):
    world.create(
        "shows", SHOW, numNodes=2, env=[{"name": "PASSED", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    )
    done = world.wait_for("shows", "Complete")
    assert (done["reason"], done["message"]) == ("AllJobsCompleted", "jobset completed successfully")
    logs = [dict(line.split("=", 1) for line in text.splitlines() if "=" in line) for text in world.logs("shows")]
    assert [(log["PET_NODE_RANK"], log["PET_NNODES"], log["PET_NPROC_PER_NODE"]) for log in logs] == [
        ("0", "2", "1"),
        ("1", "2", "1"),
    ]
    assert len({(log["PET_MASTER_ADDR"], log["PET_MASTER_PORT"]) for log in logs}) == 1, "they meet at one place"
    assert {log["PASSED"] for log in logs} == {"hidden"}
    assert all("to stderr" in text for text in world.logs("shows"))
    (counts,) = world.job("shows")["status"]["jobsStatus"]
    assert counts == {"name": "node", "active": 0, "ready": 0, "succeeded": 1, "failed": 0, "suspended": 0}
    assert [pod.status.phase for pod in world.pods("shows")] == ["Succeeded", "Succeeded"]


def test_two_nodes_under_torchrun_meet_over_tcp(world: TrainingWorld, tmp_path: Path):
    (tmp_path / "meet.py").write_text(RENDEZVOUS)
    world.create("meets", ["torchrun", str(tmp_path / "meet.py")], numNodes=2)
    world.wait_for("meets", "Complete", within_s=120)
    assert [text for text in world.logs("meets") if "gathered [(0, '0'), (1, '1')]" not in text] == []


def test_a_node_that_fails_is_started_again_until_no_restart_is_left(world: TrainingWorld):
    world.create_runtime("once-more", {"backoffLimit": 1})
    world.create("fails", FAIL, runtimeRef={"name": "once-more"})
    failed = world.wait_for("fails", "Failed")
    assert failed["reason"] == "FailedJobs" and "exit code 3, after 1 restarts of 1" in failed["message"]
    (pod,) = world.pods("fails")
    (container,) = pod.status.container_statuses
    assert (container.restart_count, container.state.terminated.exit_code) == (1, 3)
    assert world.logs("fails") == ["no\nno\n"]


def test_a_node_that_is_killed_is_started_again(world: TrainingWorld, tmp_path: Path):
    mark = tmp_path / "second"
    world.create("recovers", ["/bin/sh", "-c", f"test -e {mark} && exit 0; touch {mark}; sleep 600"])
    wait_for(mark.exists, "its first start")
    for pid in world.pids("recovers"):
        kill(pid)
    world.wait_for("recovers", "Complete")


def test_a_job_that_is_suspended_has_no_process_and_one_that_is_resumed_starts_anew(world: TrainingWorld):
    world.create("pauses", SLEEP, numNodes=2, suspend=True)
    assert world.wait_for("pauses", "Suspended")["message"] == "TrainJob is suspended"
    assert world.pods("pauses") == []
    world.patch("pauses", {"suspend": False})
    wait_for(lambda: world.logs("pauses") == ["began\n"] * 2, "both nodes")
    assert world.condition("pauses", "Suspended")["reason"] == "Resumed"
    pids = world.pids("pauses")
    world.patch("pauses", {"suspend": True})
    wait_for(lambda: not world.pods("pauses"), "the end of both nodes")
    assert not any(map(environment_of, pids))
    world.patch("pauses", {"suspend": False})
    wait_for(lambda: [pod.status.phase for pod in world.pods("pauses")] == ["Running"] * 2, "both nodes again")


def test_a_deadline_ends_the_job_and_its_processes(world: TrainingWorld):
    world.create("is-late", SLEEP, activeDeadlineSeconds=2)
    assert world.wait_for("is-late", "Failed")["reason"] == "DeadlineExceeded"
    wait_for(lambda: not world.pids("is-late"), "the end of its processes")
    assert world.logs("is-late") == ["began\n"], "the log of a failed job stays"


def test_a_deletion_in_the_foreground_is_over_when_the_last_process_is(world: TrainingWorld):
    world.create("goes", ["/bin/sh", "-c", "trap 'sleep 1; exit' TERM; echo began; while :; do sleep 0.1; done"])
    wait_for(lambda: world.logs("goes") == ["began\n"], "its start")
    pids = world.pids("goes")
    world.delete("goes", propagation_policy="Foreground")
    assert world.job("goes")["metadata"]["finalizers"] == ["foregroundDeletion"]

    def is_gone() -> bool:
        return all(job["metadata"]["name"] != "goes" for job in world.jobs())

    wait_for(is_gone, "its end")
    assert not any(map(environment_of, pids)) and not world.pods("goes")


def test_a_log_is_followed_to_its_end(world: TrainingWorld):
    world.create("counts", ["/bin/sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done"])
    wait_for(lambda: world.pods("counts"), "its pod")
    (pod,) = world.pods("counts")
    answer = world.core.read_namespaced_pod_log(pod.metadata.name, "default", follow=True, _preload_content=False)
    assert answer.read() == b"1\n2\n3\n"
    assert world.core.read_namespaced_pod_log(pod.metadata.name, "default", tail_lines=2) == "2\n3\n"
    with pytest.raises(ApiException, match="timestamps cannot be honoured here"):
        world.core.read_namespaced_pod_log(pod.metadata.name, "default", timestamps=True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param(
            {"runtimeRef": {"name": "unknown"}}, "ClusterTrainingRuntime 'unknown' does not exist", id="runtime"
        ),
        pytest.param({"numNodes": 17}, "17 nodes cannot be run here", id="too-many-nodes"),
        pytest.param({"env": [{"name": "PET_NNODES", "value": "1"}]}, "must not have reserved envs", id="reserved"),
        pytest.param({"numProcPerNode": 0}, "numProcPerNode must be greater than or equal to 1", id="no-processes"),
    ],
)
def test_what_cannot_be_run_is_refused_at_its_creation(world: TrainingWorld, more, said):
    with pytest.raises(ApiException, match=said) as refused:
        world.create("wrong", SHOW, **more)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("1st", "must match RFC 1035 DNS label format", id="digit-first"),
        pytest.param("two.words", "must match RFC 1035 DNS label format", id="dot"),
        pytest.param("a" * 64, "must be no more than 63 characters", id="too-long"),
    ],
)
def test_a_name_that_no_pod_could_have_is_refused(world: TrainingWorld, name: str, said: str):
    with pytest.raises(ApiException, match=said) as refused:
        world.create(name, SHOW)
    assert refused.value.status == 422


def test_what_a_job_trains_cannot_be_changed(world: TrainingWorld):
    world.create("stays", SHOW)
    with pytest.raises(ApiException, match="field is immutable"):
        world.patch("stays", {"trainer": {"numNodes": 2}})


def test_the_runtime_that_is_built_in_can_be_read_and_not_changed(world: TrainingWorld):
    listed = world.objects.list_cluster_custom_object("trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes")
    assert "torch-distributed" in [each["metadata"]["name"] for each in listed["items"]]
    with pytest.raises(ApiException, match="is built in"):
        world.objects.delete_cluster_custom_object(
            "trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes", "torch-distributed"
        )


def test_a_watch_tells_of_a_job_from_its_creation_to_its_end(world: TrainingWorld):
    from kubernetes import watch

    version = world.objects.list_namespaced_custom_object("trainer.kubeflow.org", "v1alpha1", "default", "trainjobs")
    world.create("is-watched", SHOW)
    told = []
    for event in watch.Watch().stream(
        world.objects.list_namespaced_custom_object,
        *("trainer.kubeflow.org", "v1alpha1", "default", "trainjobs"),
        resource_version=version["metadata"]["resourceVersion"],
        timeout_seconds=60,
        field_selector="metadata.name=is-watched",
    ):
        told.append(event["type"])
        if any(each["type"] == "Complete" for each in event["object"].get("status", {}).get("conditions", ())):
            break
    assert told[0] == "ADDED" and set(told[1:]) == {"MODIFIED"}


def test_nodes_outlive_a_control_plane_that_is_killed_and_the_next_one_knows_how_they_ended(tmp_path: Path):
    """One that runs on is adopted; one that ended meanwhile has left its exit code; neither is started twice."""
    (tmp_path / "world").mkdir()
    world, go_on = TrainingWorld(tmp_path / "world"), tmp_path / "go-on"
    world.start()
    try:
        words = f"echo began; while [ ! -e {go_on} ]; do sleep 0.1; done"
        world.create("ends", ["/bin/sh", "-c", words])
        world.create("runs-on", SLEEP)
        wait_for(lambda: [*world.logs("ends"), *world.logs("runs-on")] == ["began\n"] * 2, "both jobs")
        pids = world.pids("runs-on")
        world.kill()
        go_on.touch()
        time.sleep(0.5)  # what ends now has nobody to tell
        world.start()
        world.wait_for("ends", "Complete")
        assert world.pids("runs-on") == pids
        assert [*world.logs("ends"), *world.logs("runs-on")] == ["began\n"] * 2
    finally:
        world.stop()


def test_nodes_of_a_control_plane_for_one_process_die_with_it(tmp_path: Path):
    world = TrainingWorld(tmp_path, is_lasting=False)
    world.start()
    world.create("goes-too", SLEEP)
    wait_for(lambda: world.logs("goes-too") == ["began\n"], "its start")
    uid = world.pods("goes-too")[0].metadata.uid
    world.kill()
    mark = f"trainjob-{uid}-".encode()
    wait_for(lambda: not any(mark in environment_of(pid) for pid in all_pids()), "the end of its processes")
    world.connection.close()

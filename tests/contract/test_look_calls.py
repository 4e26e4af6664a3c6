"""A look at the labels costs what is new: S3 requests and git processes are counted, with a short past and a long."""

import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.memory import Memory
from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.git import GitRepo
from ratchet.adapters.s3 import S3ObjectStore, client_of
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.labels.dataset import version_name
from ratchet.core.labels.judged import ACCEPTED
from ratchet.core.labels.shards import ShardCounts, render_counts, shard_key_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.settings import Settings
from ratchet.stores.verdicts import Verdicts
from tests.stores import label_stores

pytestmark = pytest.mark.stack

STEP = timedelta(minutes=1)
NUM_NEW = 3
COUNTS = ShardCounts(num_labels=1, num_by_class={"7": 1}, num_by_labeler={"ada": 1})
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")


class Cost(NamedTuple):
    """Of one look."""

    num_s3: int
    num_keys: int
    """That S3 listed."""
    num_git: int
    git_bytes: int


class CountedRepo(GitRepo):
    num_calls = 0
    num_bytes = 0

    def _run(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        done = super()._run(*arguments, stdin=stdin)
        self.num_calls += 1
        self.num_bytes += len(done.stdout)
        return done


class Process:
    """A sensor that knows nothing yet of a task with a past: a shard a minute, and an accepted version for each."""

    def __init__(self, settings: Settings, folder: Path, *, num_old: int, num_silent: int = 0) -> None:
        self.task = f"past-{secrets.token_hex(4)}"
        self.settings = settings
        client = client_of(settings)
        self.objects = S3ObjectStore(client, endpoint=settings.s3_endpoint)
        self.labels = S3LabelStore(self.objects, bucket=settings.labels_bucket)
        self.repo = CountedRepo(str(folder / self.task), variable="RATCHET_DATASET_REPO")
        self.datasets = DvcDatasetStore(
            self.repo, self.objects, bucket=settings.dvc_bucket, endpoint=settings.s3_endpoint, region="us-east-1"
        )
        self.memory = Memory()
        self.num_s3 = self.num_keys = 0
        self._fill(folder / self.task, num_old=num_old, num_silent=num_silent)
        events = client.meta.events
        events.register("before-send.s3", self._count_request)
        events.register("after-call.s3.ListObjectsV2", self._count_keys)

    def look(self) -> Cost:
        self.num_s3 = self.num_keys = self.repo.num_calls = self.repo.num_bytes = 0
        pending = list_pending(
            label_stores(self.labels, self.datasets, self.objects),
            task=self.task,
            memory=self.memory,
        )
        assert (pending.num_labels, pending.num_by_labeler) == (NUM_NEW, {"ada": NUM_NEW})
        return Cost(self.num_s3, self.num_keys, self.repo.num_calls, self.repo.num_bytes)

    def _count_request(self, **_: object) -> None:
        self.num_s3 += 1

    def _count_keys(self, parsed: dict[str, object], **_: object) -> None:
        self.num_keys += int(str(parsed["KeyCount"]))

    def _fill(self, repo: Path, *, num_old: int, num_silent: int) -> None:
        now = datetime.now(UTC)
        keys = [shard_key_of(self.task, now - STEP * number, b"k" * 10) for number in range(num_old + NUM_NEW, 0, -1)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(self._put_shard, keys))
            list(threads.map(self._accept, range(1, num_old), keys))
        num_versions = num_old + num_silent
        self._accept(num_versions, keys[num_old - 1])
        _make_repo(repo, [version_name(self.task, number) for number in range(1, num_versions + 1)])

    def _put_shard(self, key: str) -> None:
        uri = f"s3://{self.settings.labels_bucket}/{key}"
        self.objects.put(uri, key.encode(), metadata=render_counts(COUNTS))

    def _accept(self, number: int, key: str) -> None:
        reason = Reason(check="test", value=1, limit=1, passed=True, text="test")
        inputs = {"watermark": key, "shards": [key], "quarantined": []}
        said = Verdict(kind="validate", verdict=ACCEPTED, reasons=(reason,), inputs=inputs)
        Verdicts(self.objects, self.settings.ratchet_bucket).put(said, version=version_name(self.task, number))


def _make_repo(path: Path, tags: list[str]) -> None:
    subprocess.run([*GIT, "init", "--quiet", "--bare", "--initial-branch=main", str(path)], check=True)
    git = (*GIT, f"--git-dir={path}")
    made = subprocess.run([*git, "mktree"], input=b"", check=True, capture_output=True).stdout.strip().decode()
    commit = [*git, "commit-tree", made, "-m", "test"]
    made = subprocess.run(commit, check=True, capture_output=True).stdout.strip().decode()
    refs = ["refs/heads/main", *(f"refs/tags/{tag}" for tag in tags)]
    text = "".join(f"create {ref} {made}\n" for ref in refs)
    subprocess.run([*git, "update-ref", "--stdin"], input=text.encode(), check=True)


def test_a_look_costs_the_same_with_ten_times_the_past(s3_settings: Settings, tmp_path: Path) -> None:
    few = Process(s3_settings, tmp_path, num_old=20)
    many = Process(s3_settings, tmp_path, num_old=200)
    first, first_of_many = few.look(), many.look()
    assert first_of_many[:3] == first[:3], "the list of tags is longer, once"
    assert first_of_many == first._replace(git_bytes=first_of_many.git_bytes)
    next_ones = [process.look() for process in (few, many, few, many)]
    assert set(next_ones) == {Cost(num_s3=1, num_keys=NUM_NEW + 1, num_git=1, git_bytes=next_ones[0].git_bytes)}


def test_crashed_runs_behind_the_accepted_one_cost_no_request_each(s3_settings: Settings, tmp_path: Path) -> None:
    plain = Process(s3_settings, tmp_path, num_old=20)
    crashed = Process(s3_settings, tmp_path, num_old=20, num_silent=101)
    more = crashed.look().num_s3 - plain.look().num_s3
    assert more <= 5, "two versions asked for by name, and a listing for each hundred"
    assert crashed.look().num_s3 == plain.look().num_s3 == 1

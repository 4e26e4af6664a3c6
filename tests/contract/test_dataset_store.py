"""What every dataset store does; then what people and other runs see of the real one."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.git import GitRepo
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError
from ratchet.core.labels.dataset import DatasetShard, Manifest, md5_of, version_name
from ratchet.core.labels.shards import Split
from ratchet.core.ports import DatasetStore
from ratchet.settings import Settings, child_env
from tests.fakes.dataset_store import FakeDatasetStore

GIT_ENV = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """The real servers, with an empty dataset repository."""
    repo = tmp_path / "datasets.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repo)], check=True)
    real: Settings = request.getfixturevalue("s3_settings")
    return real.model_copy(update={"dataset_repo": str(repo)})


@pytest.fixture(params=["fake", pytest.param("dvc", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest) -> DatasetStore:
    return FakeDatasetStore() if request.param == "fake" else real_store(request.getfixturevalue("settings"))


def real_store(settings: Settings) -> DvcDatasetStore:
    return DvcDatasetStore.of(settings, S3ObjectStore.of(settings))


def version_of(
    number: int, files: dict[str, bytes], *, task: str = "digits", parent: Manifest | None = None
) -> Manifest:
    shards = tuple(
        DatasetShard(path=path, split=_split(path), num_rows=1, sha256=digest_of_bytes(data), md5=md5_of(data))
        for path, data in files.items()
    )
    old = parent.shards if parent else ()
    return Manifest(
        version=version_name(task, number),
        parent=parent.version if parent else None,
        num_labels=len(old) + len(shards),
        num_labels_by_class={},
        watermark=f"{task}/w{number}",
        shards=(*old, *shards),
    )


def _split(path: str) -> Split:
    return "test" if "test" in path else "train"


V1 = {"shards/v1-train.parquet": b"one", "shards/v1-test.parquet": b"\0two"}
V2 = {"shards/v2-train.parquet": b"three"}


def test_versions_come_back_in_order_with_their_files(store: DatasetStore) -> None:
    assert store.list_versions("digits") == ()
    first = version_of(1, V1)
    store.commit_version(first, V1)
    second = version_of(2, V2, parent=first)
    store.commit_version(second, V2)
    store.commit_version(version_of(10, {}, parent=second), {})
    store.commit_version(version_of(1, V2, task="other"), V2)
    assert store.list_versions("digits") == ("digits/v1", "digits/v2", "digits/v10")
    assert (store.fetch_manifest("digits/v1"), store.fetch_manifest("digits/v2")) == (first, second)
    assert {shard.path: store.fetch_shard(shard) for shard in second.shards} == {**V1, **V2}


def test_a_version_is_made_once(store: DatasetStore) -> None:
    store.commit_version(version_of(1, V1), V1)
    with pytest.raises(Conflict, match="digits/v1"):
        store.commit_version(version_of(1, V2), V2)
    assert store.fetch_manifest("digits/v1") == version_of(1, V1)


def test_what_is_not_there_is_not_found(store: DatasetStore) -> None:
    with pytest.raises(NotFound, match="digits/v7"):
        store.fetch_manifest("digits/v7")


def test_a_file_that_changed_is_refused(store: DatasetStore) -> None:
    manifest = version_of(1, V1)
    store.commit_version(manifest, V1)
    with pytest.raises(DataRejected, match="v1-train"):
        store.fetch_shard(manifest.shards[0].model_copy(update={"sha256": "0" * 64}))


@pytest.mark.stack
class TestRealRepository:
    def test_a_person_gets_every_file_with_git_and_dvc(self, settings: Settings, tmp_path: Path) -> None:
        store, first = real_store(settings), version_of(1, V1)
        store.commit_version(first, V1)
        store.commit_version(version_of(2, V2, parent=first), V2)
        clone, env = tmp_path / "clone", dvc_env(settings, tmp_path)
        subprocess.run(["git", "clone", "--quiet", settings.dataset_repo, str(clone)], check=True, env=env)
        _dvc_pull(clone, env)
        assert _files(clone / "digits") == {**V1, **V2}
        subprocess.run(["git", "checkout", "--quiet", "digits/v1"], cwd=clone, check=True, env=env)
        _dvc_pull(clone, env)
        assert _files(clone / "digits") == V1

    def test_after_an_erasure_every_old_tag_still_pulls_and_the_old_files_are_gone(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        store, other = real_store(settings), real_store(settings)
        first = version_of(1, V1)
        store.commit_version(first, V1)
        second = version_of(2, V2, parent=first)
        store.commit_version(second, V2)
        store.commit_version(version_of(1, V2, task="other"), V2)
        assert other.list_versions("digits") and other.fetch_manifest("digits/v1") == first
        before = {name for manifest in (first, second) for name in store.list_files(manifest)}
        files = {**V1, "shards/v1-test.parquet": b"less"}
        left = [version_of(1, files), version_of(2, V2, parent=version_of(1, files))]
        store.replace_versions(left, [b"less"], message="digits: an erasure\n")
        after = {name for manifest in left for name in store.list_files(manifest)}
        store.delete_files(before - after)
        for each in (store, other, real_store(settings)):
            assert each.list_versions("digits") == ("digits/v1", "digits/v2")
            assert [each.fetch_manifest(version) for version in ("digits/v1", "digits/v2")] == left
            assert list(each.fetch_manifests("digits")) == left
        clone, env = tmp_path / "clone", dvc_env(settings, tmp_path)
        for tag, expected in (("digits/v1", files), ("digits/v2", {**files, **V2}), ("other/v1", V2)):
            shutil.rmtree(clone, ignore_errors=True)
            command = ["git", "clone", "--quiet", "--branch", tag, settings.dataset_repo, str(clone)]
            subprocess.run(command, check=True, env=env, capture_output=True)
            _dvc_pull(clone / tag.partition("/")[0], env)
            assert _files(clone / tag.partition("/")[0]) == expected
        objects = S3ObjectStore.of(settings)
        stored = {uri.rpartition("files/md5/")[2].replace("/", "") for uri in objects.list_uris("s3://dvc/files/md5/")}
        assert after <= stored and not stored & (before - after)

    def test_a_commit_just_before_an_erasure_is_pushed_is_kept(self, settings: Settings) -> None:
        store, first = real_store(settings), version_of(1, V1)
        store.commit_version(first, V1)
        push = GitRepo.amend

        num_pushes = 0

        def late(repo: GitRepo, *args: Any, **kwargs: Any) -> None:
            nonlocal num_pushes
            num_pushes += 1
            if num_pushes == 1:
                real_store(settings).commit_version(version_of(1, V2, task="texts"), V2)
            push(repo, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(GitRepo, "amend", late)
            store.replace_versions([first], [], message="x\n")
        assert num_pushes == 2, "the first one saw that the branch had moved"
        assert real_store(settings).list_versions("texts") == ("texts/v1",)
        assert real_store(settings).list_versions("digits") == ("digits/v1",)

    def test_no_credential_is_committed(self, settings: Settings) -> None:
        real_store(settings).commit_version(version_of(1, V1), V1)
        everything = _git(settings, "grep", "-I", "-e", ".", "main")
        assert settings.s3_endpoint in everything
        assert settings.s3_secret_key.get_secret_value() not in everything

    def test_of_two_runs_at_once_one_wins_and_other_tasks_do_not_care(self, settings: Settings) -> None:
        said: list[str] = []

        def commit(task: str, data: bytes) -> None:
            try:
                real_store(settings).commit_version(version_of(1, {"shards/a": data}, task=task), {"shards/a": data})
                said.append(task)
            except Conflict:
                said.append(f"{task} lost")

        tasks = ("digits", "digits", "texts", "tables")
        threads = [threading.Thread(target=commit, args=(task, b"%d" % n)) for n, task in enumerate(tasks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said) == ["digits", "digits lost", "tables", "texts"]
        assert _git(settings, "rev-list", "--count", "main").strip() == "3"

    def test_tags_are_listed_again_only_when_the_branch_moved(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And what another process commits is seen at once."""
        listed: list[str] = []
        list_tags = GitRepo.list_tags

        def noted(repo: GitRepo, prefix: str) -> Mapping[str, str]:
            listed.append(prefix)
            return list_tags(repo, prefix)

        monkeypatch.setattr(GitRepo, "list_tags", noted)
        sensor, run = real_store(settings), real_store(settings)
        assert sensor.list_versions("digits") == sensor.list_versions("digits") == ()
        run.commit_version(version_of(1, V1), V1)
        assert sensor.list_versions("digits") == sensor.list_versions("digits") == ("digits/v1",)
        run.commit_version(version_of(1, V2, task="texts"), V2)
        assert (sensor.list_versions("digits"), sensor.list_versions("texts")) == (("digits/v1",), ("texts/v1",))
        assert listed == ["digits/v", "digits/v", "digits/v", "texts/v"]
        _git(settings, "tag", "--delete", "digits/v1")
        monkeypatch.setattr("ratchet.adapters.dvc.time.monotonic", lambda: float("inf"))
        assert sensor.list_versions("digits") == ()

    def test_blobs_without_a_commit_are_no_version(self, settings: Settings) -> None:
        """A run that is killed between upload and push leaves nothing that anybody would read."""
        broken = settings.model_copy(update={"dataset_repo": "/nonexistent.git"})
        store = DvcDatasetStore.of(broken, S3ObjectStore.of(settings))
        with pytest.raises(NotFound, match="RATCHET_DATASET_REPO"):
            store.commit_version(version_of(1, V1), V1)
        assert real_store(settings).list_versions("digits") == ()
        real_store(settings).commit_version(version_of(1, V1), V1)

    def test_the_users_git_has_no_say(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hooks = tmp_path / "hooks"
        hooks.mkdir()
        (hooks / "pre-push").write_text("#!/bin/sh\nexit 1\n")
        (hooks / "pre-push").chmod(0o755)
        (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GIT_DIR", "/nonexistent")
        real_store(settings).commit_version(version_of(1, V1), V1)
        assert _git(settings, "log", "-1", "--format=%an <%ae>", "main").strip() == "Ratchet <ratchet@localhost>"


def test_a_token_in_the_url_is_not_shown() -> None:
    repo = GitRepo("http://user:token@127.0.0.1:9/x.git", variable="RATCHET_DATASET_REPO")
    with pytest.raises(RatchetError) as caught:
        repo.list_tags("digits/v")
    assert "127.0.0.1:9/x.git" in str(caught.value)
    assert "token" not in str(caught.value)


def test_reading_does_not_import_dvc() -> None:
    code = "import sys, ratchet.adapters.dvc; sys.exit('dvc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def dvc_env(settings: Settings, folder: Path) -> dict[str, str]:
    """Of a person with a key of the bucket."""
    return child_env(
        {
            **GIT_ENV,
            "AWS_ACCESS_KEY_ID": settings.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key.get_secret_value(),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
            "DVC_NO_ANALYTICS": "1",
        }
    )


def _dvc_pull(clone: Path, env: dict[str, str]) -> None:
    dvc = shutil.which("dvc", path=env["PATH"]) or "dvc"
    done = subprocess.run([dvc, "pull", "--quiet"], cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "shards").iterdir()}


def _git(settings: Settings, *arguments: str) -> str:
    command = ["git", f"--git-dir={settings.dataset_repo}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **GIT_ENV}).stdout

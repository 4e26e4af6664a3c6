"""What every object store does, real or fake; then what only a real server can do wrong."""

import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.control_plane.host.processes import free_port
from ratchet.adapters.s3 import S3ObjectStore, client_of
from ratchet.core.errors import Conflict, DataRejected, NotFound, SettingsError, Unavailable
from ratchet.core.ports import ObjectStore
from ratchet.settings import Settings
from tests.fakes.object_store import FakeObjectStore


@pytest.fixture(params=["fake", pytest.param("s3", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "fake":
        return FakeObjectStore()
    return S3ObjectStore.of(request.getfixturevalue("s3_settings"))


@pytest.fixture
def root() -> str:
    return f"s3://ratchet/{secrets.token_hex(6)}"


def test_gives_back_the_bytes_and_the_metadata(store: ObjectStore, root: str) -> None:
    store.put(f"{root}/a b+ü.bin", b"\0\xff", metadata={"num-labels": "3"})
    assert store.fetch(f"{root}/a b+ü.bin") == b"\0\xff"
    assert store.fetch_metadata(f"{root}/a b+ü.bin") == {"num-labels": "3"}


def test_put_replaces_and_put_if_absent_does_not(store: ObjectStore, root: str) -> None:
    store.put_if_absent(f"{root}/x", b"first", metadata={"a": "1"})
    with pytest.raises(Conflict, match="/x exists already"):
        store.put_if_absent(f"{root}/x", b"second")
    assert (store.fetch(f"{root}/x"), store.fetch_metadata(f"{root}/x")) == (b"first", {"a": "1"})
    store.put(f"{root}/x", b"third")
    assert store.fetch(f"{root}/x") == b"third"


def test_of_many_writers_at_once_exactly_one_is_first(store: ObjectStore, root: str) -> None:
    winners: list[int] = []

    def claim(number: int) -> None:
        try:
            store.put_if_absent(f"{root}/claim", str(number).encode())
            winners.append(number)
        except Conflict:
            pass

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.fetch(f"{root}/claim")] == [str(number).encode() for number in winners]


def test_lists_in_key_order_after_a_key(store: ObjectStore, root: str) -> None:
    for name in ("b", "a/2", "a/10", "c"):
        store.put(f"{root}/{name}", name.encode())
    assert list(store.list_uris(f"{root}/")) == [f"{root}/{name}" for name in ("a/10", "a/2", "b", "c")]
    assert list(store.list_uris(f"{root}/", start_after=f"{root}/a/2")) == [f"{root}/b", f"{root}/c"]
    assert list(store.list_uris(f"{root}/a/1")) == [f"{root}/a/10"]
    assert [stored.size_bytes for stored in store.list_objects(f"{root}/a/")] == [4, 3]
    assert list(store.list_uris(f"{root}/nothing/")) == []


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: ObjectStore, root: str) -> None:
    store.put(f"{root}/x", b"")
    store.delete(f"{root}/x")
    store.delete(f"{root}/x")
    assert not store.exists(f"{root}/x")


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda store, uri: store.fetch(uri), id="fetch"),
        pytest.param(lambda store, uri: store.fetch_metadata(uri), id="metadata"),
        pytest.param(lambda store, uri: store.fetch_directory(uri, Path("/nonexistent")), id="directory"),
    ],
)
def test_what_is_missing_is_not_found(store: ObjectStore, root: str, ask: Callable[[ObjectStore, str], None]) -> None:
    with pytest.raises(NotFound, match="missing"):
        ask(store, f"{root}/missing")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda store: store.put("s3://no-bucket/x", b""), id="put"),
        pytest.param(lambda store: store.fetch("s3://no-bucket/x"), id="fetch"),
        pytest.param(lambda store: list(store.list_uris("s3://no-bucket/x")), id="list"),
    ],
)
def test_a_missing_bucket_is_named(store: ObjectStore, act: Callable[[ObjectStore], None]) -> None:
    with pytest.raises(NotFound, match="no-bucket"):
        act(store)


def test_a_directory_comes_back_as_it_went(store: ObjectStore, root: str, tmp_path: Path) -> None:
    files = {"MLmodel": b"m", "data/deep/x.bin": b"\0" * 3_000_000, "empty": b""}
    for name, data in files.items():
        (tmp_path / "sent" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sent" / name).write_bytes(data)
    store.put_directory(tmp_path / "sent", f"{root}/model")
    store.put(f"{root}/model-of-another/x", b"not ours")
    store.fetch_directory(f"{root}/model/", tmp_path / "got")
    got = {file.relative_to(tmp_path / "got").as_posix(): file.read_bytes() for file in _files(tmp_path / "got")}
    assert got == files


def test_an_object_name_cannot_leave_the_folder(root: str, tmp_path: Path) -> None:
    """Only in the fake: a careful server refuses such a key on PUT already, a careless one does not."""
    store = FakeObjectStore()
    store.put(f"{root}/model/../../evil", b"")
    with pytest.raises(DataRejected, match=r"\.\./\.\./evil"):
        store.fetch_directory(f"{root}/model", tmp_path / "got")
    assert not list(_files(tmp_path))


@pytest.mark.stack
class TestRealServer:
    @pytest.mark.parametrize(
        ("wrong", "variable"),
        [
            pytest.param({"s3_access_key": "stranger"}, "RATCHET_S3_ACCESS_KEY", id="key"),
            pytest.param({"s3_secret_key": "guess"}, "RATCHET_S3_SECRET_KEY", id="secret"),
        ],
    )
    def test_a_wrong_credential_is_named(self, s3_settings: Settings, wrong: dict[str, str], variable: str) -> None:
        settings = Settings.model_validate({**s3_settings.model_dump(), **wrong})
        with pytest.raises(SettingsError, match=variable):
            S3ObjectStore.of(settings).fetch("s3://ratchet/x")
        with pytest.raises(SettingsError, match="RATCHET_S3"):
            S3ObjectStore.of(settings).exists("s3://ratchet/x")

    def test_a_dead_server_is_unavailable_and_says_what_to_do(self, s3_settings: Settings) -> None:
        endpoint = f"http://127.0.0.1:{free_port()}"
        store = S3ObjectStore.of(s3_settings.model_copy(update={"s3_endpoint": endpoint}))
        with pytest.raises(Unavailable, match=rf"{endpoint}.*`ratchet up`"):
            store.fetch("s3://ratchet/x")

    def test_too_large_is_refused_before_it_is_read(self, s3_settings: Settings, root: str, tmp_path: Path) -> None:
        full = S3ObjectStore.of(s3_settings)
        full.put(f"{root}/m/large", b"12345")
        small = S3ObjectStore(client_of(s3_settings), endpoint="here", object_bytes_max=4, directory_bytes_max=4)
        with pytest.raises(DataRejected, match="the limit is 4"):
            small.fetch(f"{root}/m/large")
        with pytest.raises(DataRejected, match="the limit is 4"):
            small.fetch_directory(f"{root}/m", tmp_path / "got")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://"])
def test_a_malformed_endpoint_is_a_settings_error(endpoint: str) -> None:
    settings = Settings.model_validate({"s3_endpoint": endpoint, "s3_access_key": "a", "s3_secret_key": "b"})
    with pytest.raises(SettingsError, match="RATCHET_S3_ENDPOINT"):
        S3ObjectStore.of(settings)


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()]

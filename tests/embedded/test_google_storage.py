"""Importers of gs:// addresses, against a stand-in that speaks the part of Google's JSON API that a download needs."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from embedded.control_plane.engine.artifact_store import ArtifactStore
from embedded.control_plane.engine.executor_io import imported_artifact
from embedded.control_plane.engine.executors import Importer
from embedded.control_plane.engine.values import Values
from embedded.control_plane.errors import DataRejected, NotFound

OBJECTS = {"data/a.txt": b"A", "data/sub/b.txt": b"B", "one.txt": b"1"}


class _Storage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        name = unquote(url.path.partition("/o/")[2])
        if not name:
            prefix = parse_qs(url.query).get("prefix", [""])[0]
            items = [{"name": key, "bucket": "bucket"} for key in OBJECTS if key.startswith(prefix)]
            self._answer(200, json.dumps({"kind": "storage#objects", "items": items}).encode())
        elif name in OBJECTS:
            self._answer(200, OBJECTS[name])
        else:
            self._answer(404, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Storage)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_object_and_prefix_are_copied_from_an_emulator(
    storage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage)
    store = ArtifactStore(tmp_path)
    store.copy_in("gs://bucket/one.txt", tmp_path / "one")
    store.copy_in("gs://bucket/data", tmp_path / "data")
    assert (tmp_path / "one").read_bytes() == b"1"
    assert (tmp_path / "data/a.txt").read_bytes() + (tmp_path / "data/sub/b.txt").read_bytes() == b"AB"
    with pytest.raises(NotFound, match="gs://bucket/none"):
        store.copy_in("gs://bucket/none", tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "one"], "nothing half is left"


def test_importer_of_gs_without_credentials_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    importer = Importer.model_validate({"artifactUri": {"constant": "gs://bucket/one.txt"}})
    with pytest.raises(DataRejected, match="only if GOOGLE_APPLICATION_CREDENTIALS or STORAGE_EMULATOR_HOST is set"):
        imported_artifact(importer, Values(), job={})

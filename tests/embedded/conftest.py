"""A control plane and the real kfp.Client to it, one of each a module; a module that needs another has its own."""

from collections.abc import Iterator

import kfp
import pytest

from tests.embedded.kfp_server import KfpServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KfpServer]:
    server = KfpServer(tmp_path_factory.mktemp("kfp"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server: KfpServer) -> Iterator[kfp.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(server.folder))
        yield server.client()

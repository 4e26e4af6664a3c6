"""A real KFP API and engine of our own, for tests: one process on a free port, and a tiny pipeline for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfp import compiler, dsl

from ratchet.settings import Settings
from tests.embedded.kfp_server import KfpServer


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def wait(task: str, seconds: float, is_bad: bool) -> None:
    import time

    print(f"waiting for {task}")
    time.sleep(seconds)
    if is_bad:
        raise ValueError("asked to fail")


@dsl.pipeline(name="retrain")
def tiny(task: str, run_key: str = "", seconds: float = 60.0, is_bad: bool = False) -> None:
    wait(task=task, seconds=seconds, is_bad=is_bad).set_caching_options(False)


def compile_tiny(path: Path, *, name: str = "retrain") -> Path:
    """A pipeline that takes what `retrain` takes, and runs for a minute unless told otherwise."""
    compiler.Compiler().compile(tiny, str(path), pipeline_name=name)
    return path


@contextmanager
def kfp_server(folder: Path, *, port: int = 0) -> Iterator[Settings]:
    """The embedded control plane with its state in `folder`; it dies with the tests, however they end."""
    server = KfpServer(folder, port=port)
    server.start()
    try:
        yield Settings(kfp_endpoint=server.url)
    finally:
        server.stop()

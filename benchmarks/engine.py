"""What the engine costs: `python -m benchmarks.engine [--quick]`. The peer is kfp's local runner, in the same run."""

import argparse
import contextlib
import functools
import io
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kfp
from kfp import compiler, components, dsl, local

from embedded.control_plane.host.processes import free_port
from ratchet.settings import child_env

_GOAL_OVERHEAD_S = 0.15
_GOAL_SCHEDULE_RATIO = 1.3
_NUM_PARALLEL = 8
_DEADLINE_S = 300.0
component = functools.partial(dsl.component, base_image="example/benchmark:1", install_kfp_package=False)


@component
def step(number: int) -> int:
    return number + 1


@component
def nap(number: int, seconds: float) -> int:
    import time

    time.sleep(seconds)
    return number


def chain_of(num_tasks: int) -> Any:
    @dsl.pipeline(name="chain")
    def chain() -> None:
        task = step(number=0)
        for _ in range(num_tasks - 1):
            task = step(number=task.output)

    return chain


def loop_of(num_items: int, *, parallelism: int, seconds: float) -> Any:
    @dsl.pipeline(name="loop")
    def loop() -> None:
        with dsl.ParallelFor(list(range(num_items)), parallelism=parallelism) as number:
            nap(number=number, seconds=seconds)

    return loop


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[str]:
    """A control plane of its own on a free port; yields its address."""
    port = free_port()
    (folder / "token").write_text("token")
    arguments = {"--port": port, "--data-dir": folder / "data", "--secrets-dir": folder / "secrets"}
    arguments |= {"--xds-dir": folder / "xds", "--gateway-url": "http://127.0.0.1:1", "--runtimes-dir": folder}
    arguments |= {"--project-dir": folder, "--token-file": folder / "token"}
    words = [str(word) for pair in arguments.items() for word in pair]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "embedded.control_plane", *words], stdout=log, stderr=log, env=child_env({})
        )
    try:
        _wait_ready(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def measure_ours(client: kfp.Client, pipeline: Any, folder: Path) -> float:
    """Seconds from the server's start of the run to its end."""
    path = str(folder / f"{pipeline.name}.yaml")
    compiler.Compiler().compile(pipeline, path)
    with contextlib.redirect_stdout(io.StringIO()):
        run_id = client.create_run_from_pipeline_package(path, enable_caching=False).run_id
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        run = client.get_run(run_id)
        if run.finished_at and run.state in ("SUCCEEDED", "FAILED"):
            assert run.state == "SUCCEEDED", run.error
            return (run.finished_at - run.created_at).total_seconds()
        time.sleep(0.1)
    raise TimeoutError(f"{run_id} did not end in {_DEADLINE_S} s")


def count_right_of_many(client: kfp.Client, folder: Path, *, num_runs: int) -> int:
    """How many of `num_runs` runs, submitted at once, end with the right output in time."""
    path = str(folder / "many.yaml")
    compiler.Compiler().compile(chain_of(2), path)
    with contextlib.redirect_stdout(io.StringIO()):
        submit = functools.partial(client.create_run_from_pipeline_package, path, enable_caching=False)
        with ThreadPoolExecutor(8) as pool:
            run_ids = [run.run_id for run in pool.map(lambda _: submit(), range(num_runs))]
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        runs = {run.run_id: run for run in client.list_runs(page_size=num_runs, sort_by="created_at desc").runs}
        if all(runs[run_id].finished_at for run_id in run_ids):
            break
        time.sleep(0.5)
    return sum(_ended_right(client.get_run(run_id)) for run_id in run_ids)


def _ended_right(run: Any) -> bool:
    return run.state == "SUCCEEDED" and [task.state for task in run.run_details.task_details] == ["SUCCEEDED"] * 2


def measure_kfp_local(pipeline: Any, folder: Path) -> float:
    """Seconds that kfp's SubprocessRunner takes, in this environment and without caching."""
    path = str(folder / f"{pipeline.name}.yaml")
    compiler.Compiler().compile(pipeline, path)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "local"))
    loaded = components.load_component_from_file(path)
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        loaded()
    return time.monotonic() - start


def measure_all(*, num_tasks: int, num_items: int, num_runs: int, nap_s: float) -> list[dict[str, Any]]:
    parallelism = _NUM_PARALLEL
    chain = chain_of(num_tasks)
    with tempfile.TemporaryDirectory() as name, control_plane(Path(name)) as url:
        folder = Path(name)
        with contextlib.redirect_stdout(io.StringIO()):
            client = kfp.Client(host=url)
        ours_s = measure_ours(client, chain, folder) / num_tasks
        peer_s = measure_kfp_local(chain, folder) / num_tasks
        loop_s = measure_ours(client, loop_of(num_items, parallelism=parallelism, seconds=nap_s), folder)
        num_right = count_right_of_many(client, folder, num_runs=num_runs)
    ideal_s = num_items * nap_s / parallelism
    return [
        row(
            "engine.task_overhead",
            ours_s,
            unit="s/task",
            peer=peer_s,
            goal=_GOAL_OVERHEAD_S,
            ok=ours_s <= _GOAL_OVERHEAD_S,
        ),
        row(
            "engine.loop_over_ideal_schedule",
            loop_s,
            unit="s",
            peer=ideal_s,
            goal=_GOAL_SCHEDULE_RATIO * ideal_s,
            ok=loop_s <= _GOAL_SCHEDULE_RATIO * ideal_s,
        ),
        row(
            "engine.runs_at_once_that_end_right",
            num_right,
            unit="runs",
            peer=num_runs,
            goal=num_runs,
            ok=num_right == num_runs,
        ),
    ]


def row(name: str, value: float, *, unit: str, peer: float, goal: float, ok: bool) -> dict[str, Any]:
    numbers = {"value": round(value, 4), "unit": unit, "peer": round(peer, 4), "ratio": round(value / peer, 3)}
    return {"name": name, **numbers, "goal": round(goal, 4), "ok": ok}


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer in 30 s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer tasks; under a minute")
    is_quick = parser.parse_args().quick
    sizes = (20, 32, 20) if is_quick else (100, 500, 200)
    rows = measure_all(num_tasks=sizes[0], num_items=sizes[1], num_runs=sizes[2], nap_s=1.0)
    print(f"{'name':<34} {'value':>9} {'unit':<7} {'peer':>9} {'ratio':>6} {'goal':>9}  ok")
    for one in rows:
        numbers = f"{one['value']:>9} {one['unit']:<7} {one['peer']:>9} {one['ratio']:>6} {one['goal']:>9}"
        print(f"{one['name']:<34} {numbers}  {'yes' if one['ok'] else 'NO'}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

"""Random pipelines for the engine: tasks in random order, some fail, some are retried; each says when it succeeded."""

# The bodies below are not run here: KFP takes them apart, and reads its own types.
# mypy: ignore-errors

import random
from dataclasses import dataclass

from kfp import dsl

from tests.embedded.kfp_constructs import component, report

NEVER_SUCCEEDS = 1_000


@component
def work(folder: str, name: str, seconds: float, num_failures: int):
    """Fail as often as told, then succeed; every beginning and every success leaves a file of its own.

    A kill just after such a file makes it a lie, so these decide nothing: tasks that are to end red never succeed.
    """
    import os
    import time
    from pathlib import Path

    stamp = f"{time.time_ns()}-{os.getpid()}"
    print("began", time.time_ns(), flush=True)
    Path(folder, f"began-{name}-{stamp}").touch()
    time.sleep(seconds)
    if len(list(Path(folder).glob(f"failed-{name}-*"))) < num_failures:
        print("fails as told", flush=True)
        Path(folder, f"failed-{name}-{stamp}").touch()
        os._exit(1)
    Path(folder, f"succeeded-{name}-{stamp}").touch()
    os._exit(0)


@dataclass(frozen=True)
class Planned:
    """One task. num_failures counts attempts; num_retries is what the pipeline allows."""

    upstream: tuple[int, ...]
    num_failures: int
    num_retries: int
    seconds: float
    in_loop: bool

    @property
    def is_red(self) -> bool:
        return self.num_failures > self.num_retries


def plan_of(seed: int, *, num_tasks: int = 7) -> list[Planned]:
    chance = random.Random(seed)
    return [
        Planned(
            upstream=tuple(chance.sample(range(index), min(index, chance.choice([0, 1, 1, 2])))),
            num_failures=chance.choice([0, 0, 0, 0, 1, 2]),
            num_retries=chance.choice([0, 1, 2]),
            seconds=chance.choice([0.0, 0.1, 0.3]),
            in_loop=chance.random() < 0.2,
        )
        for index in range(num_tasks)
    ]


def pipeline_of(plan: list[Planned]):
    """The plan as a pipeline in an ExitHandler. Nobody waits for a task in a loop: groups hide what they hold."""

    @dsl.pipeline(name="chaos")
    def chaos(folder: str):
        with dsl.ExitHandler(report().set_caching_options(False)):
            tasks = {}
            for index, one in enumerate(plan):
                if one.in_loop:
                    with dsl.ParallelFor([f"{index}-a", f"{index}-b"], parallelism=1) as item:
                        _add(folder, item, one)
                    continue
                tasks[index] = _add(folder, str(index), one)
                before = [tasks[up] for up in one.upstream if up in tasks]
                if before:
                    tasks[index].after(*before)

    return chaos


def _add(folder, name: str, one: Planned):
    num_failures = NEVER_SUCCEEDS if one.is_red else one.num_failures
    task = work(folder=folder, name=name, seconds=one.seconds, num_failures=num_failures)
    return task.set_retry(one.num_retries, backoff_duration="0s").set_caching_options(False)


def expected_states(plan: list[Planned]) -> dict[int, str]:
    """By the backend's rules: a task runs when all before it succeeded, else it is skipped."""
    states: dict[int, str] = {}
    for index, one in enumerate(plan):
        before = [up for up in one.upstream if not plan[up].in_loop]
        if not one.in_loop and any(states[up] != "SUCCEEDED" for up in before):
            states[index] = "SKIPPED"
        else:
            states[index] = "FAILED" if one.is_red else "SUCCEEDED"
    return states

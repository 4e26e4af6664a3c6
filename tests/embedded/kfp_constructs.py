"""One small pipeline for each construct of the kfp DSL. KFP reads signatures raw: no `__future__` annotations here."""

# The bodies below are not run here: KFP takes them apart, and reads its own types.
# mypy: ignore-errors
# ruff: noqa: UP045 - KFP does not understand `str | None`

import functools
from typing import NamedTuple, Optional

from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Metrics, Output, PipelineTaskFinalStatus

component = functools.partial(dsl.component, base_image="example/tests:1", install_kfp_package=False)


@component
def say(text: str) -> str:
    return text


@component
def double(number: int) -> int:
    return 2 * number


@component
def words() -> list:
    return ["a", "b"]


@component
def pairs() -> list:
    return [{"n": 1, "w": "x"}, {"n": 2, "w": "y"}]


@component
def score(value: float) -> NamedTuple("Outputs", [("score", float), ("good", bool)]):
    import collections

    return collections.namedtuple("Outputs", "score good")(value, value > 0.5)


@component
def write(text: str, out: Output[Dataset], metrics: Output[Metrics]):
    from pathlib import Path

    Path(out.path).write_text(text)
    out.metadata["length"] = len(text)
    metrics.log_metric("length", len(text))


@component
def read(data: Input[Dataset]) -> str:
    from pathlib import Path

    return f"{Path(data.path).read_text()} {data.metadata.get('length')}"


@component
def join(texts: list) -> str:
    return ",".join(map(str, texts))


@component
def read_all(data: Input[list[Dataset]]) -> str:
    from pathlib import Path

    return ",".join(Path(one.path).read_text() for one in data)


@component
def fail() -> str:
    raise RuntimeError("broken on purpose")


@component
def report(status: PipelineTaskFinalStatus, channel: str = "ops") -> str:
    return f"{channel} {status.state} {status.pipeline_task_name} {status.error_message}"


@component
def maybe(text: Optional[str] = None, number: int = 3) -> str:
    return f"{text} {number}"


@component
def environment(name: str) -> str:
    import os

    return os.environ.get(name, "unset")


@component
def fail_until_third(folder: str) -> int:
    import pathlib

    count = len(list(pathlib.Path(folder).glob("try*")))
    pathlib.Path(folder, f"try{count}").touch()
    if count < 2:
        raise RuntimeError("not yet")
    return count


@component
def sleep(seconds: int, mark: str = "") -> str:
    import pathlib
    import time

    if mark:
        pathlib.Path(mark).touch()
    time.sleep(seconds)
    return "slept"


@component
def obey_sigterm(mark: str):
    import pathlib
    import signal
    import sys
    import time

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    path = pathlib.Path(mark)
    is_first = not path.exists()
    with path.open("a") as file:
        file.write("began ")
    time.sleep(30 if is_first else 0)


@component
def count_call(folder: str, name: str) -> str:
    import pathlib
    import time

    path = pathlib.Path(folder, f"{name}-{time.time_ns()}")
    path.touch()
    return name


@dsl.container_component
def shell(text: str, out: dsl.OutputPath(str), extra: Optional[str] = None):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'mkdir -p "$(dirname "$1")"; printf "%s" "$0 $2" > "$1"'],
        args=[
            dsl.ConcatPlaceholder(["<", text, ">"]),
            out,
            dsl.IfPresentPlaceholder(input_name="extra", then=["extra"], else_=["plain"]),
        ],
    )


@dsl.pipeline
def inner(text: str = "inner default") -> str:
    return say(text=text).output


@dsl.pipeline
def sequence(number: int = 3):
    first = double(number=number)
    second = double(number=first.output)
    say(text=f"{first.output} then {second.output}").after(second)


@dsl.pipeline
def artifacts():
    read(data=write(text="hello").outputs["out"])


@dsl.pipeline
def if_on_named_output(value: float = 0.7):
    scored = score(value=value)
    with dsl.If(scored.outputs["score"] >= 0.6):
        say(text="high")
    with dsl.If(scored.outputs["good"] == False):  # noqa: E712 - the DSL overloads ==
        say(text="bad")


@dsl.pipeline
def if_elif_else(choice: str = "b"):
    with dsl.If(choice == "a"):
        a = say(text="A")
    with dsl.Elif(choice == "b"):
        b = say(text="B")
    with dsl.Else():
        c = say(text="C")
    say(text=dsl.OneOf(a.output, b.output, c.output))


@dsl.pipeline
def loop_static():
    outer = say(text="outer")
    with dsl.ParallelFor(["p", "q"], parallelism=1) as item:
        made = say(text=item)
        say(text=outer.output)
    join(texts=dsl.Collected(made.output))


@dsl.pipeline
def loop_dynamic_nested():
    with dsl.ParallelFor(pairs().output) as pair:
        double(number=pair.n)
        with dsl.ParallelFor(words().output) as word:
            say(text=word)
        say(text=pair.w)


@dsl.pipeline
def loop_empty(items: list = []):  # noqa: B006 - KFP wants the default as it is
    with dsl.ParallelFor(items) as item:
        made = say(text=item)
    join(texts=dsl.Collected(made.output))


@dsl.pipeline
def loop_artifacts():
    with dsl.ParallelFor(words().output) as word:
        made = write(text=word)
    read_all(data=dsl.Collected(made.outputs["out"]))


@dsl.pipeline
def loop_with_if():
    with dsl.ParallelFor([1, 2]) as number, dsl.If(number == 2):
        double(number=number)


@dsl.pipeline
def nested():
    say(text=inner(text="given").output)
    inner()


@dsl.pipeline
def exit_after_success():
    with dsl.ExitHandler(report()):
        say(text="fine")


@dsl.pipeline
def exit_after_failure():
    with dsl.ExitHandler(report(channel="alarm")):
        say(text=fail().output)


@dsl.pipeline
def failure_skips_dependents():
    say(text=fail().output)
    say(text="independent")


@dsl.pipeline
def ignore_failure():
    say(text="after").after(fail()).ignore_upstream_failure()


@dsl.pipeline
def optional_inputs(text: Optional[str] = None, number: int = 4):
    maybe(text=text)
    maybe(number=number)


@dsl.pipeline
def container(text: str = "hi"):
    say(text=shell(text=text).outputs["out"])
    shell(text=text, extra="yes")


@dsl.pipeline
def import_file(uri: str):
    read(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"length": 7}).output)


@dsl.pipeline
def variables():
    environment(name="PLAIN").set_env_variable("PLAIN", "value")
    secret = environment(name="TOKEN").set_cpu_limit("2")
    kubernetes.use_secret_as_env(secret, secret_name="hub", secret_key_to_env={"token": "TOKEN"})
    kubernetes.add_node_selector(secret, "disk", "fast")
    environment(name="RATCHET_S3_SECRET_KEY")


@dsl.pipeline
def secret_missing():
    task = environment(name="TOKEN")
    kubernetes.use_secret_as_env(task, secret_name="nowhere", secret_key_to_env={"token": "TOKEN"})


@dsl.pipeline
def retries(folder: str):
    fail_until_third(folder=folder).set_retry(2, backoff_duration="0s")


@dsl.pipeline
def timeout():
    kubernetes.set_timeout(sleep(seconds=30), 1)


@dsl.pipeline
def placeholders():
    say(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    say(text=f"{dsl.PIPELINE_TASK_NAME_PLACEHOLDER}")


@dsl.pipeline
def long_with_exit(mark: str):
    with dsl.ExitHandler(report()):
        say(text=sleep(seconds=60, mark=mark).output)


@dsl.pipeline
def counted_calls(folder: str, seconds: int, mark: str):
    first = count_call(folder=folder, name="first").set_caching_options(False)
    middle = sleep(seconds=seconds, mark=mark).after(first).set_caching_options(False)
    count_call(folder=folder, name="last").after(middle).set_caching_options(False)


@dsl.pipeline
def cached(folder: str):
    count_call(folder=folder, name="cached")
    count_call(folder=folder, name="never").set_caching_options(False)


@dsl.pipeline
def fails_once(folder: str):
    first = count_call(folder=folder, name="first").set_caching_options(False)
    fail_until_third(folder=folder).after(first).set_caching_options(False)


@dsl.pipeline
def obeys_sigterm(mark: str):
    obey_sigterm(mark=mark).set_caching_options(False)

"""What values become on their way from task to task. KFP reads signatures raw: no `__future__` annotations here."""

# The bodies below are not run here: KFP takes them apart, and reads its own types.
# mypy: ignore-errors
# ruff: noqa: UP045 - KFP does not understand `str | None`

from typing import Optional

from kfp import dsl, kubernetes
from kfp.dsl import Input

from tests.embedded.kfp_constructs import component, double, fail, inner, join, maybe, report, say


@component
def give(text: str) -> list:
    import json

    return json.loads(text)


@component
def nothing() -> str:
    return None


@dsl.container_component
def writes_text(text: str, out: dsl.OutputPath(float), other: dsl.OutputPath(bool)):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'mkdir -p "$(dirname "$1")"; printf "%s" "$0" > "$1"; printf " True" > "$2"'],
        args=[text, out, other],
    )


@dsl.container_component
def writes_one_of_two(out: dsl.OutputPath(str), never: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine", command=["sh", "-ec", 'mkdir -p "$(dirname "$0")"; printf x > "$0"; : "$1"'], args=[out, never]
    )


@dsl.container_component
def says_numbers(number: float, whole: int, items: list, out: dsl.OutputPath(str), extra: int = 7):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'mkdir -p "$(dirname "$0")"; printf "%s|" "$@" > "$0"'],
        args=[out, number, whole, items, dsl.IfPresentPlaceholder("extra", then=["given"], else_=["left out"])],
    )


@dsl.pipeline
def branch_on_static_items():
    with dsl.ParallelFor([1, 2]) as item:
        with dsl.If(item == 2):
            say(text="two")
        with dsl.Else():
            say(text="not two")


@dsl.pipeline
def branch_on_listed_items(items: str = "[1, 2, 10, null, true, 0.5]"):
    with dsl.ParallelFor(give(text=items).output) as item:
        with dsl.If(item == 2):
            say(text="two")
        with dsl.Elif(item > 1):
            say(text="more")
        with dsl.Else():
            say(text="else")


@dsl.pipeline
def branch_on_fields(items: str = '[{"n": 1, "w": "x"}, {"n": 2, "w": "y"}]'):
    with dsl.ParallelFor(give(text=items).output) as item:
        with dsl.If(item.n != 2):
            say(text="not two")
        with dsl.If(item.w == "y"):
            say(text="y")
        double(number=item.n)


@dsl.pipeline
def nested_static_lists():
    with dsl.ParallelFor([[1, 2], [3]]) as several, dsl.ParallelFor(several) as one, dsl.If(one == 2):
        say(text="two")


@dsl.pipeline
def items_into_an_integer(items: list = [1, 2]):  # noqa: B006 - KFP wants the default as it is
    with dsl.ParallelFor(items) as item:
        double(number=item)


@dsl.pipeline
def fields_into_a_text(items: str = '[{"n": 0.5, "none": null}]'):
    with dsl.ParallelFor(give(text=items).output) as item:
        maybe(number=item.n)
        maybe(text=item.none)


@dsl.pipeline
def null_output_into_text():
    maybe(text=nothing().output)


@dsl.pipeline
def value_into_text(items: str):
    with dsl.ParallelFor(give(text=items).output) as item:
        say(text=item)


@dsl.pipeline
def output_never_written():
    maybe(text=writes_one_of_two().outputs["never"])


@dsl.pipeline
def output_as_go_reads_it(text: str = " 1_0.50 "):
    written = writes_text(text=text)
    with dsl.If(written.outputs["other"] == True):  # noqa: E712 - the DSL overloads ==
        say(text=f"{written.outputs['out']}")


@dsl.pipeline
def numbers_in_arguments():
    says_numbers(number=1234567.5, whole=3000000, items=[{"z": "<", "a": 1e-7}])
    says_numbers(number=0.00001, whole=9007199254740993, items=[], extra=7)


@dsl.pipeline
def exit_task_fails():
    with dsl.ExitHandler(fail()):
        say(text="fine")


@dsl.pipeline
def exit_handler_never_reached():
    failed = fail()
    with dsl.ExitHandler(report()):
        say(text=failed.output)


@dsl.pipeline
def ignores_failure_and_reads_its_output():
    maybe(text=fail().output, number=1).ignore_upstream_failure()


@dsl.pipeline
def ignores_failure_of_a_task_never_reached():
    middle = say(text=fail().output)
    say(text="after").after(middle).ignore_upstream_failure()


@dsl.pipeline
def nested_collected():
    with dsl.ParallelFor(["a", "b"]):
        with dsl.ParallelFor(["1", "2"]) as item:
            made = say(text=item)
        join(texts=dsl.Collected(made.output))
    join(texts=dsl.Collected(made.output))


@dsl.pipeline
def null_through_a_group(text: Optional[str] = None):
    inner(text=text)


@dsl.pipeline
def null_in_a_condition(text: Optional[str] = None):
    with dsl.If(text == "a"):
        say(text="never")


@dsl.pipeline
def f_string_with_quotes(name: str = 'a "quoted" name'):
    say(text=f"hello {name}")


@component
def keep(value: dict) -> dict:
    return value


@component
def keep_list(value: list) -> list:
    return value


@dsl.pipeline
def values_around_values(name: str = "x", number: int = 3):
    keep(value={"a": name, "b": [number, {"deep": say(text="said").output}], "c": 1.5, "d": f"{name}-{number}"})
    keep_list(value=[number, name, True])


@dsl.pipeline
def group_of_object(value: dict):
    keep(value=value)


@dsl.pipeline
def object_into_a_group(name: str = "x"):
    group_of_object(value={"a": [name]})


@dsl.pipeline
def run_placeholder_in_list():
    keep_list(value=[dsl.PIPELINE_JOB_ID_PLACEHOLDER])


@dsl.pipeline
def workspace_in_object():
    keep(value={"path": dsl.WORKSPACE_PATH_PLACEHOLDER})


@dsl.pipeline
def import_from_a_task():
    dsl.importer(artifact_uri=say(text="s3://bucket/x").output, artifact_class=dsl.Dataset)


@component
def have(data: Optional[Input[dsl.Dataset]] = None) -> bool:
    return data is not None


@dsl.pipeline
def group_of_artifact(data: Optional[Input[dsl.Dataset]] = None):
    have(data=data)


@dsl.pipeline
def optional_artifact_through_a_group():
    have()
    group_of_artifact()


@dsl.pipeline
def run_placeholder_in_text():
    say(text=f"run {dsl.PIPELINE_JOB_ID_PLACEHOLDER}")


@dsl.pipeline
def f_string_into_a_group(name: str = "x"):
    inner(text=f"hello {name}")


@dsl.pipeline
def two_hooks_on_one_task():
    first = say(text="x")
    say(text="a").after(first).ignore_upstream_failure()
    say(text="b").after(first).ignore_upstream_failure()


@dsl.pipeline
def waits_for_a_hook():
    hook = say(text="a").after(say(text="x")).ignore_upstream_failure()
    say(text="b").after(hook)


@component
def show_run(name: str, resource: str, run: str, task: str, task_id: str) -> str:
    return "|".join((name, resource, run, task, task_id))


@dsl.pipeline(name="shown")
def all_placeholders():
    show_run(
        name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
    ).set_caching_options(False)


@component
def show_status(status: dsl.PipelineTaskFinalStatus) -> str:
    resource = status.pipeline_job_resource_name
    return f"{status.state} {status.pipeline_task_name} {resource} {status.error_code} {status.error_message}"


@dsl.pipeline(name="told")
def final_status():
    with dsl.ExitHandler(show_status()):
        fail()


@dsl.pipeline
def names_by_inputs(volume: str, secret: Optional[str] = None):
    task = say(text="x")
    kubernetes.mount_pvc(task, pvc_name=volume, mount_path="/data")
    kubernetes.use_secret_as_env(task, secret_name=secret, secret_key_to_env={"k": "V"}, optional=True)
    kubernetes.use_config_map_as_volume(task, config_map_name=secret, mount_path="/etc/x")

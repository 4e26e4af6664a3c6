"""What a pipeline may ask of a cluster: volumes, resources, packages, S3. KFP reads signatures raw."""

# The bodies below are not run here: KFP takes them apart, and reads its own types.
# mypy: ignore-errors

import functools
from typing import NamedTuple

from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Output

from pipelines.parts import with_resources
from tests.embedded.kfp_constructs import component, count_call, read, say, write


@component
def read_file(path: str) -> str:
    from pathlib import Path

    return Path(path).read_text()


@component
def write_file(path: str, text: str):
    from pathlib import Path

    Path(path).write_text(text)


@component
def read_known_files() -> str:
    from pathlib import Path

    return Path("/etc/hub/token").read_text() + " " + Path("/etc/settings/token").read_text()


@component
def allocate(size_mib: int) -> int:
    import subprocess
    import sys

    code = f"import time; data = bytearray(b'x') * ({size_mib} << 20); time.sleep(20 if {size_mib} > 100 else 0)"
    return subprocess.run([sys.executable, "-c", code]).returncode


@component
def stamp(folder: str, name: str, seconds: float):
    import time
    from pathlib import Path

    start = time.time()
    time.sleep(seconds)
    Path(folder, f"{name}.span").write_text(f"{start} {time.time()}")


@component
def copy_dataset(data: Input[Dataset], out: Output[Dataset]):
    from pathlib import Path

    Path(out.path).mkdir()
    Path(out.path, "part").write_text(Path(data.path).read_text().upper())


@component
def read_part(data: Input[Dataset]) -> str:
    from pathlib import Path

    return Path(data.path, "part").read_text()


@dsl.container_component
def show_address(data: Input[Dataset], uri: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-ec", 'printf "%s" "$0" > "$1"'], args=[data.uri, uri])


@dsl.pipeline
def secret_and_config_volumes():
    task = read_known_files()
    kubernetes.use_secret_as_volume(task, secret_name="hub", mount_path="/etc/hub")
    kubernetes.use_config_map_as_volume(task, config_map_name="hub", mount_path="/etc/settings/")


@dsl.pipeline
def secret_volume_missing():
    kubernetes.use_secret_as_volume(read_known_files(), secret_name="nowhere", mount_path="/etc/hub")


@dsl.pipeline
def claim_from_first_to_last():
    claim = kubernetes.CreatePVC(pvc_name="shared", access_modes=["ReadWriteOnce"], size="1Gi", storage_class_name="x")
    name = claim.set_caching_options(False).outputs["name"]
    wrote = write_file(path="/data/note", text="kept").set_caching_options(False)
    kubernetes.mount_pvc(wrote, pvc_name=name, mount_path="/data")
    got = read_file(path="/elsewhere/note").set_caching_options(False).after(wrote)
    kubernetes.mount_pvc(got, pvc_name=name, mount_path="/elsewhere")
    kubernetes.DeletePVC(pvc_name=name).set_caching_options(False).after(got)


@dsl.pipeline
def claim_by_input(volume: str = "named"):
    wrote = write_file(path="/data/note", text="by input")
    kubernetes.mount_pvc(wrote, pvc_name=volume, mount_path="/data")
    with dsl.If(volume == "named"):
        got = read_file(path="/data/note").after(wrote)
        kubernetes.mount_pvc(got, pvc_name=volume, mount_path="/data", sub_path="")


@dsl.pipeline
def scratch_volume():
    task = write_file(path="/scratch/note", text="gone soon")
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path="/scratch")


@dsl.pipeline
def mount_hides_everything():
    kubernetes.mount_pvc(say(text="x"), pvc_name="data", mount_path="/")


@dsl.pipeline
def ephemeral_volume():
    """The test adds an init container, for which kfp-kubernetes 2.16 has no function."""
    task = read_file(path="/eph/note")
    kubernetes.add_ephemeral_volume(task, "eph", "/eph", ["ReadWriteOnce"], "1Gi")


@component
def read_variables(names: list) -> str:
    import os

    return "|".join(os.environ[name] for name in names)


@dsl.pipeline
def field_as_variable():
    task = read_variables(names=["POD", "SPACE", "UID_OF_POD", "COLOUR", "SHAPE", "KFP_POD_NAME"])
    kubernetes.add_pod_label(task, "colour", "green")
    for name, field in {
        "POD": "metadata.name",
        "SPACE": "metadata.namespace",
        "UID_OF_POD": "metadata.uid",
        "COLOUR": "metadata.labels['colour']",
        "SHAPE": "metadata.annotations['shape']",
    }.items():
        kubernetes.use_field_path_as_env(task, name, field)


@dsl.pipeline
def unknown_field():
    kubernetes.use_field_path_as_env(say(text="x"), "POD", "spec.containers")


@component
def write_note(folder: str) -> str:
    from pathlib import Path

    path = Path(folder, "note")
    path.parent.mkdir()
    path.write_text("kept")
    return str(path)


@component
def has_folder() -> bool:
    from pathlib import Path

    return Path("/kfp-workspace").exists()


@component
def where_is(data: Input[Dataset]) -> str:
    return data.uri


@dsl.pipeline
def nested_reader(path: str):
    read_file(path=path)


@dsl.pipeline
def imported_part(uri: str):
    imported = dsl.importer(artifact_uri=uri, artifact_class=Dataset, download_to_workspace=True)
    read_part(data=imported.output)


@dsl.pipeline(pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def workspace():
    nested_reader(path=write_note(folder=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/notes").output)
    copied = copy_dataset(data=write(text="hello").set_caching_options(False).outputs["out"])
    imported_part(uri=where_is(data=copied.outputs["out"]).output)
    has_folder().set_caching_options(False)


@dsl.pipeline
def needs_artifact(data: Input[Dataset]):
    read_part(data=data)


@component
def write_elsewhere(out: Output[Dataset]):
    from pathlib import Path
    from tempfile import mkdtemp

    out.custom_path = mkdtemp()
    Path(out.custom_path, "part").write_text("HELLO")


@dsl.pipeline
def custom_path():
    read_part(data=write_elsewhere().outputs["out"])


@dsl.pipeline
def secret_and_files():
    task = read_variables(names=["HUB_TOKEN"])
    kubernetes.use_secret_as_env(task, secret_name="hub", secret_key_to_env={"token": "HUB_TOKEN"})
    read_part(data=write_elsewhere().outputs["out"])


@dsl.container_component
def tell_system(told: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-ec", 'cat /etc/os-release > "$0"'], args=[told])


@dsl.pipeline
def name_of_system():
    tell_system()


@dsl.container_component
def show_list(data: Input[list[Dataset]], listing: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-ec", 'printf "%s" "$0" > "$1"'], args=[data, listing])


@dsl.pipeline
def list_of_artifacts():
    with dsl.ParallelFor(["a", "b"]) as text:
        made = write(text=text)
    show_list(data=dsl.Collected(made.outputs["out"]))


@dsl.pipeline
def unreadable_amount(cpus: str = "lots"):
    say(text="x").set_cpu_limit(cpus)


@dsl.pipeline
def memory_hog(size_mib: int = 400):
    allocate(size_mib=size_mib).set_memory_limit("200M")


@dsl.pipeline
def too_large():
    say(text="x").set_memory_request("900Ti")


@dsl.pipeline
def needs_gpu():
    say(text="x").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(64)


@component
def read_policy(
    cpu: str, accelerator: str, num_accelerators: str, node_selector: dict, tolerations: list
) -> NamedTuple(
    "Outputs",
    [
        ("cpu", str),
        ("memory", str),
        ("accelerator", str),
        ("num_accelerators", str),
        ("node_selector", dict),
        ("tolerations", list),
    ],
):
    return (cpu, "0", accelerator, num_accelerators, node_selector, tolerations)


@dsl.pipeline
def asks_by_outputs(
    cpu: str = "0",
    accelerator: str = "",
    num_accelerators: str = "0",
    node_selector: dict = {},  # noqa: B006 - KFP's way to give a default
    tolerations: list = [],  # noqa: B006
):
    asked = read_policy(
        cpu=cpu,
        accelerator=accelerator,
        num_accelerators=num_accelerators,
        node_selector=node_selector,
        tolerations=tolerations,
    )
    with dsl.If(asked.outputs["memory"] == "0"), dsl.If(asked.outputs["cpu"] != "none"):
        with_resources(say(text="x"), asked.outputs)


@dsl.pipeline
def two_halves_and_a_small_one(folder: str, half: str):
    for name in ("one", "two"):
        stamp(folder=folder, name=name, seconds=0.6).set_memory_request(half).set_caching_options(False)
    stamp(folder=folder, name="free", seconds=0.6).set_caching_options(False)


@dsl.pipeline
def through_s3(folder: str):
    made = write(text="hello").set_caching_options(True)
    copied = copy_dataset(data=made.outputs["out"])
    read_part(data=copied.outputs["out"])
    show_address(data=made.outputs["out"])
    count_call(folder=folder, name="cached")


@dsl.pipeline
def import_from(uri: str):
    imported = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False, metadata={"length": 7})
    read(data=imported.output)


def packages_pipeline(requirement: str, index: str):
    """Two tasks at once that want the same package, and one that wants none."""
    installing = functools.partial(component, packages_to_install=[requirement], pip_index_urls=[index])

    @installing
    def greet() -> str:
        import sys

        import ratchet_test_greeting

        return f"{ratchet_test_greeting.TEXT} {sys.prefix}"

    @installing
    def greet_too() -> str:
        import kfp  # the service's packages are there, too
        import ratchet_test_greeting

        return f"{ratchet_test_greeting.TEXT} {kfp.__name__}"

    @dsl.pipeline(name="packages")
    def packages():
        greet().set_caching_options(False)
        greet_too().set_caching_options(False)

    return packages


@dsl.container_component
def install_by_hand(index: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec"],
        args=[
            'pip install -q --index-url "$0" ratchet-test-greeting; mkdir -p "$(dirname "$1")"; '
            'python3 -c "import ratchet_test_greeting, sys; print(ratchet_test_greeting.TEXT, sys.prefix)" > "$1"',
            index,
            out,
        ],
    )


@dsl.pipeline
def installs_by_hand(index: str):
    install_by_hand(index=index)


@component(task_config_passthroughs=[dsl.TaskConfigField.RESOURCES])
def wants_task_config(config: dsl.TaskConfig):
    print(config)


@dsl.pipeline
def task_config():
    wants_task_config()

"""Every public method of kfp.Client and every command of `kfp`, each tried against a real server."""

import inspect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp
import pytest
from click.testing import CliRunner
from kfp import compiler
from kfp.cli.cli import cli

from tests.embedded import kfp_constructs as constructs
from tests.embedded.kfp_server import KfpServer, quiet

TOKEN = "a-token-of-the-test"


@dataclass
class World:
    """A server that asks for a token, its client, and one of each thing."""

    server: KfpServer
    client: kfp.Client
    package: str
    experiment_id: str
    pipeline_id: str
    version_id: str
    run_id: str
    recurring_run_id: str
    count: int = 0

    def fresh(self, word: str = "name") -> str:
        self.count += 1
        return f"{word} {self.count}"

    def recurring(self) -> str:
        made = self.client.create_recurring_run(
            self.experiment_id, self.fresh(), interval_second=3600, pipeline_package_path=self.package, enabled=False
        )
        return made.recurring_run_id

    def run(self) -> str:
        return self.client.run_pipeline(self.experiment_id, self.fresh(), self.package).run_id

    def long_run(self) -> str:
        """One that is still running when the next request comes."""
        path = Path(self.package).with_name("long.yaml")
        compiler.Compiler().compile(constructs.long_with_exit, str(path))
        return self.client.run_pipeline(self.experiment_id, self.fresh(), str(path), {"mark": "surface"}).run_id

    def upload(self) -> Any:
        return self.client.upload_pipeline(self.package, pipeline_name=self.fresh())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("surface")
    (folder / "kfp-token").write_text(TOKEN + "\n")
    server = KfpServer(folder, options={"--kfp-token-file": folder / "kfp-token"})
    server.start()
    package = str(folder / "sequence.yaml")
    compiler.Compiler().compile(constructs.sequence, package)
    with pytest.MonkeyPatch.context() as patch, quiet():
        patch.setenv("HOME", str(folder))
        client = kfp.Client(host=server.url, existing_token=TOKEN)
        experiment_id = client.create_experiment("surface").experiment_id
        pipeline = client.upload_pipeline(package, pipeline_name="surface")
        version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
        run_id = client.run_pipeline(experiment_id, "first", package).run_id
        world = World(
            server, client, package, experiment_id, pipeline.pipeline_id, version.pipeline_version_id, run_id, ""
        )
        world.recurring_run_id = world.recurring()
        yield world
    server.stop()


METHODS: dict[str, Callable[[World], Any]] = {
    "archive_experiment": lambda w: w.client.archive_experiment(w.client.create_experiment(w.fresh()).experiment_id),
    "unarchive_experiment": lambda w: w.client.unarchive_experiment(w.experiment_id),
    "archive_run": lambda w: w.client.archive_run(w.run_id),
    "unarchive_run": lambda w: w.client.unarchive_run(w.run_id),
    "create_experiment": lambda w: w.client.create_experiment(w.fresh(), description="d").experiment_id,
    "create_recurring_run": lambda w: w.recurring(),
    "create_run_from_pipeline_func": lambda w: w.client.create_run_from_pipeline_func(constructs.sequence).run_id,
    "create_run_from_pipeline_package": lambda w: w.client.create_run_from_pipeline_package(w.package).run_id,
    "delete_experiment": lambda w: w.client.delete_experiment(w.client.create_experiment(w.fresh()).experiment_id),
    "delete_job": lambda w: w.client.delete_job(w.recurring()),
    "delete_pipeline": lambda w: w.client.delete_pipeline(w.upload().pipeline_id),
    "delete_pipeline_version": lambda w: w.client.delete_pipeline_version(
        w.pipeline_id, w.client.upload_pipeline_version(w.package, w.fresh(), w.pipeline_id).pipeline_version_id
    ),
    "delete_recurring_run": lambda w: w.client.delete_recurring_run(w.recurring()),
    "delete_run": lambda w: w.client.delete_run(w.run()),
    "disable_job": lambda w: w.client.disable_job(w.recurring_run_id),
    "disable_recurring_run": lambda w: w.client.disable_recurring_run(w.recurring_run_id),
    "enable_job": lambda w: w.client.enable_job(w.recurring()),
    "enable_recurring_run": lambda w: w.client.enable_recurring_run(w.recurring()),
    "get_experiment": lambda w: w.client.get_experiment(experiment_name="surface").experiment_id,
    "get_kfp_healthz": lambda w: w.client.get_kfp_healthz().multi_user is False,
    "get_pipeline": lambda w: w.client.get_pipeline(w.pipeline_id).created_at,
    "get_pipeline_id": lambda w: w.client.get_pipeline_id("surface"),
    "get_pipeline_version": lambda w: w.client.get_pipeline_version(w.pipeline_id, w.version_id).pipeline_spec,
    "get_recurring_run": lambda w: w.client.get_recurring_run(w.recurring_run_id).trigger.periodic_schedule,
    "get_run": lambda w: w.client.get_run(w.run_id).state_history,
    "get_user_namespace": lambda w: w.client.get_user_namespace(),
    "list_experiments": lambda w: w.client.list_experiments(sort_by="created_at desc").experiments,
    "list_pipeline_versions": lambda w: w.client.list_pipeline_versions(w.pipeline_id).pipeline_versions,
    "list_pipelines": lambda w: w.client.list_pipelines(sort_by="name asc").pipelines,
    "list_recurring_runs": lambda w: w.client.list_recurring_runs(experiment_id=w.experiment_id).recurring_runs,
    "list_runs": lambda w: w.client.list_runs(experiment_id=w.experiment_id).runs,
    "run_pipeline": lambda w: (
        w.client.run_pipeline(
            w.experiment_id, w.fresh(), pipeline_id=w.pipeline_id, version_id=w.version_id, enable_caching=False
        ).run_id
    ),
    "set_user_namespace": lambda w: w.client.set_user_namespace(""),
    "terminate_run": lambda w: w.client.terminate_run(w.long_run()),
    "upload_pipeline": lambda w: w.upload().pipeline_id,
    "upload_pipeline_from_pipeline_func": lambda w: (
        w.client.upload_pipeline_from_pipeline_func(constructs.sequence, pipeline_name=w.fresh()).pipeline_id
    ),
    "upload_pipeline_version": lambda w: (
        w.client.upload_pipeline_version(w.package, w.fresh(), pipeline_name="surface").pipeline_version_id
    ),
    "upload_pipeline_version_from_pipeline_func": lambda w: (
        w.client.upload_pipeline_version_from_pipeline_func(
            constructs.sequence, w.fresh(), pipeline_id=w.pipeline_id
        ).pipeline_version_id
    ),
    "wait_for_run_completion": lambda w: w.client.wait_for_run_completion(w.run_id, timeout=30, sleep_duration=1),
}
ANSWERS_NOTHING = ("archive", "unarchive", "delete", "disable", "enable", "terminate", "set_", "get_user_namespace")


def test_the_table_has_every_public_method() -> None:
    public = {name for name, _ in inspect.getmembers(kfp.Client, callable) if not name.startswith("_")}
    assert METHODS.keys() == public


@pytest.mark.parametrize("name", METHODS)
def test_method_of_the_client(world: World, name: str) -> None:
    with quiet():
        answer = METHODS[name](world)
    assert answer or name.startswith(ANSWERS_NOTHING)


_EQUALS_FIRST = json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": "first"}]})
COMMANDS: dict[str, Callable[[World], list[str]]] = {
    "experiment create": lambda w: [w.fresh()],
    "experiment list": lambda w: ["--max-size", "5"],
    "experiment get": lambda w: [w.experiment_id],
    "experiment archive": lambda w: ["--experiment-name", "surface"],
    "experiment unarchive": lambda w: ["--experiment-name", "surface"],
    "experiment delete": lambda w: [w.client.create_experiment(w.fresh()).experiment_id],
    "pipeline create": lambda w: ["--pipeline-name", w.fresh(), w.package],
    "pipeline create-version": lambda w: [w.package, "--pipeline-version", w.fresh(), "--pipeline-id", w.pipeline_id],
    "pipeline upload": lambda w: ["--pipeline-name", w.fresh(), w.package],
    "pipeline upload-version": lambda w: [w.package, "--pipeline-version", w.fresh(), "--pipeline-id", w.pipeline_id],
    "pipeline list": lambda w: ["--sort-by", "created_at desc"],
    "pipeline list-versions": lambda w: [w.pipeline_id],
    "pipeline get": lambda w: [w.pipeline_id],
    "pipeline get-version": lambda w: [w.pipeline_id, w.version_id],
    "pipeline delete-version": lambda w: [
        w.pipeline_id,
        w.client.upload_pipeline_version(w.package, w.fresh(), w.pipeline_id).pipeline_version_id,
    ],
    "pipeline delete": lambda w: [w.upload().pipeline_id],
    "run create": lambda w: ["-e", "surface", "-r", w.fresh(), "-f", w.package, "number=3"],
    "run submit": lambda w: ["-e", "surface", "-r", w.fresh(), "-f", w.package],
    "run list": lambda w: ["--experiment-id", w.experiment_id, "--filter", _EQUALS_FIRST],
    "run get": lambda w: [w.run_id],
    "run archive": lambda w: [w.run_id],
    "run unarchive": lambda w: [w.run_id],
    "run delete": lambda w: [w.run()],
    "recurring-run create": lambda w: [
        *("--experiment-name", "surface", "--job-name", w.fresh(), "--cron-expression", "TZ=Europe/Rome 0 0 3 * * *"),
        *("--pipeline-id", w.pipeline_id, "--version-id", w.version_id, "number=3"),
    ],
    "recurring-run list": lambda w: ["--experiment-id", w.experiment_id],
    "recurring-run get": lambda w: [w.recurring_run_id],
    "recurring-run enable": lambda w: [w.recurring()],
    "recurring-run disable": lambda w: [w.recurring_run_id],
    "recurring-run delete": lambda w: [w.recurring()],
}


def test_the_table_has_every_command() -> None:
    """And some aliases, which the groups do not list."""
    groups = ("experiment", "pipeline", "run", "recurring-run")
    assert COMMANDS.keys() >= {f"{group} {name}" for group in groups for name in cli.commands[group].commands}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_kfp(world: World, command: str) -> None:
    with quiet():
        words = [*command.split(), *COMMANDS[command](world)]
    options = ["--endpoint", world.server.url, "--existing-token", TOKEN, "--output", "json"]
    done = CliRunner().invoke(cli, [*options, *words], input="y\n", obj={})
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"

"""SIGKILLs at random moments, from a seed, under steady load and with labels coming in: what must hold anyway.

25 in `make whole`; more by `CHAOS_KILLS=44 make chaos`.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from demo.data import load_scans
from embedded.control_plane.engine.family import list_marked
from embedded.control_plane.kserve.register import ServerRegister
from embedded.leftovers import list_stack_processes
from embedded.services import StackReport
from ratchet.adapters.dvc import DvcDatasetStore
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.errors import RatchetError
from ratchet.settings import Settings, child_env
from tests.conftest import PROJECT_DIR, settings_in
from tests.embedded.serving_world import COLLECTION, isvc_body, wait_for
from tests.embedded.steady_load import SteadyLoad, outage_s
from tests.listening import listening_addresses, seen_from_elsewhere
from tests.models import digits_model
from tests.own_ports import with_own_ports

pytestmark = [pytest.mark.stack, pytest.mark.whole, pytest.mark.timeout(900)]
SEED, NUM_KILLS = 20, int(os.environ.get("CHAOS_KILLS", "25"))
EACH, TASKS = 2, 3
"""Kills of every kind of server at least, and of tasks of a running pipeline."""
SHARD_LABELS, SHARD_EVERY_S = 40, 2.5
SERVING = ("model", "gateway")
"""Whose death users may notice."""
KEEPERS = ("supervisor", "keeper")
SERVERS = (*SERVING, "control_plane", *KEEPERS, "sensor", "guard", "object_store", "mlflow")
MODEL = "steady"


class Kill(NamedTuple):
    what: str
    num_asked: int
    num_failed: int
    outage_s: float


def victims_of(chance: random.Random) -> list[str]:
    """Who is killed, in random order: each kind of server EACH times, tasks TASKS times, the rest any server."""
    sure = [*SERVERS * EACH, *["task"] * TASKS]
    victims = [*sure, *chance.choices(SERVERS, k=NUM_KILLS - len(sure))]
    chance.shuffle(victims)
    return victims


class Stage:
    """A whole stack with a model that serves, and its processes by name."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.kills: list[Kill] = []
        self.ids: list[str] = []
        """Of the labels that are stored."""

    def try_to_run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        env = child_env({"RATCHET_STATE_DIR": str(self.state_dir)})
        ratchet = str(Path(sys.executable).with_name("ratchet"))
        return subprocess.run([ratchet, *words], env=env, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=300)

    def run(self, *words: str) -> str:
        done = self.try_to_run(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def settings(self) -> Settings:
        return settings_in(self.state_dir)

    @property
    def report(self) -> StackReport:
        return StackReport.model_validate_json((self.state_dir / "stack.json").read_text())

    def serve(self, folder: Path) -> None:
        digest = digits_model(folder)
        uri = f"s3://models/{MODEL}/{digest}"
        S3ObjectStore.of(self.settings).put_directory(folder, uri)
        token = {"authorization": f"Bearer {self.settings.kubernetes_token.get_secret_value()}"}
        api = httpx.Client(base_url=self.settings.kubernetes_endpoint, headers=token, timeout=20)
        api.post(COLLECTION, json=isvc_body(MODEL, uri)).raise_for_status()
        url = f"{self.settings.gateway_endpoint}/v1/models/{MODEL}:predict"
        wait_for(lambda: httpx.post(url, json=BODY).status_code == 200, "the model to serve", within_s=120)

    def pids_of(self, what: str) -> list[int]:
        """None, when it is being started at the moment."""
        data, supervisor = self.state_dir / "control_plane", self.report.supervisor
        if what == "model":
            return [server.pid for server in ServerRegister(data / "model_servers").list_living()]
        if what == "task":
            engine = f"{(data / 'engine_id').read_text()}:"
            pids, forking = list_marked(engine), list_marked(f"{engine}warm:")
            return pids if set(pids) > set(forking) else []  # what forks them dies with them, never alone
        if what in ("supervisor", "keeper"):
            named = supervisor if what == "supervisor" else supervisor.keeper
            return [named.pid] if named else []
        return [service.pid for service in self.report.services if service.name == what and service.pid]

    def keeping_pids(self) -> set[int]:
        return {pid for what in KEEPERS for pid in self.pids_of(what)}

    def is_kept(self) -> bool:
        """Whether supervisor and keeper both live."""
        return len(self.keeping_pids()) == len(KEEPERS) and all(map(psutil.pid_exists, self.keeping_pids()))

    def kill_all(self, chance: random.Random, load: SteadyLoad) -> None:
        """Each victim in its turn; one that does not run at the moment waits for a later turn."""
        waiting, deadline = victims_of(chance), time.monotonic() + 400
        while waiting:
            assert time.monotonic() < deadline, f"never seen running: {waiting}"
            here = next((what for what in waiting if self.pids_of(what)), None)
            if here is None:
                time.sleep(0.2)
            elif self.kill(here, chance, load):
                waiting.remove(here)
            else:
                time.sleep(0.2)  # the report names one that has just ended

    def kill(self, what: str, chance: random.Random, load: SteadyLoad) -> bool:
        """Whether it was there to be killed."""
        pids = self.pids_of(what)
        began = time.monotonic()
        try:
            os.kill(chance.choice(pids), signal.SIGKILL)
        except (ProcessLookupError, IndexError):
            return False
        if what in KEEPERS:
            # Each starts the other again, and looks every 2 s: both gone at once is for `ratchet up`, not for them.
            wait_for(lambda: self.is_kept() and not {*pids} & self.keeping_pids(), f"another {what}", within_s=30)
        pause_s = chance.uniform(0.5, 3.0)
        time.sleep(max(pause_s, 2.0) if what in SERVING else pause_s)
        if what in SERVING:
            wait_for(lambda: is_well(load), f"answers after the death of {what}", within_s=60)
        time.sleep(0.3)  # what was asked a moment ago is answered
        asked, failed = load.answers(since=began), load.failed(since=began)
        self.kills.append(Kill(what, len(asked), len(failed), round(outage_s(failed), 2)))
        return True

    def is_running(self) -> bool:
        """Whether any run has not ended."""
        states = [run["state"] for run in json.loads(self.run("runs", "list", "--json"))]
        return bool({"PENDING", "RUNNING"} & set(states))

    @contextmanager
    def labels_coming_in(self) -> Iterator[None]:
        """As a labeling tool sends them: what could not be stored is sent again."""
        is_over = threading.Event()

        def push() -> None:
            scans, start = load_scans(), 0
            while not is_over.wait(SHARD_EVERY_S):
                lines = [scans.line(index, labeler="ada") for index in range(start, start + SHARD_LABELS)]
                try:
                    store = S3LabelStore(S3ObjectStore.of(self.settings), bucket=self.settings.labels_bucket)
                    store.put_shard("digits", ("\n".join(lines) + "\n").encode(), num_labels=SHARD_LABELS)
                except RatchetError:
                    continue
                self.ids += [json.loads(line)["id"] for line in lines]
                start += SHARD_LABELS

        thread = threading.Thread(target=push)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


BODY = {"instances": [[0.0] * 64]}


def is_well(load: SteadyLoad) -> bool:
    """Whether everything of the last half second was answered."""
    now = time.monotonic()
    recent = load.answers(since=now - 0.6, until=now - 0.1)
    return len(recent) >= 3 and all(answer.is_fine for answer in recent)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """After the kills; the stack is still up."""
    stage = Stage(with_own_ports(tmp_path_factory.mktemp("chaos") / "state"))
    try:
        stage.run("up")
        stage.serve(tmp_path_factory.mktemp("model"))
        chance = random.Random(SEED)
        load = SteadyLoad(stage.settings.gateway_endpoint, f"/v1/models/{MODEL}:predict", BODY)
        with load.running(), stage.labels_coming_in():
            time.sleep(2)
            stage.kill_all(chance, load)
        print("\n".join(str(kill) for kill in stage.kills))
        yield stage
    finally:
        stage.run("down")


def test_users_notice_the_death_of_what_serves_them_and_of_nothing_else(stage: Stage) -> None:
    num_kills = Counter(kill.what for kill in stage.kills)
    assert num_kills.total() == NUM_KILLS and num_kills["task"] == TASKS
    assert all(num_kills[what] >= EACH for what in SERVERS), num_kills
    noticed = [kill for kill in stage.kills if kill.num_failed and kill.what not in SERVING]
    assert not noticed, stage.kills
    assert all(kill.num_asked for kill in stage.kills), "there was load all the time"


def test_every_server_comes_back_and_listens_on_loopback_only(stage: Stage) -> None:
    wait_for(lambda: stage.report.is_ready, "every server to be ready", within_s=120)
    pids = {stat.pid for stat in list_stack_processes(stage.report.stack_id)}
    assert listening_addresses(pids), "servers listen"
    assert seen_from_elsewhere(pids) == set()


def test_every_label_is_in_an_accepted_version_once(stage: Stage) -> None:
    """Too few wait for the sensor to start a run of its own; how a rollout of that run ends is no matter of labels."""

    def counted() -> dict[str, Any]:
        return json.loads(stage.run("labels", "count", "--task", "digits", "--json"))

    def is_all_accepted() -> bool:
        count = counted()
        if count["num_pending"] and not stage.is_running():
            stage.try_to_run("run", "retrain", "--task", "digits")
        return count["version"] is not None and count["num_pending"] == 0

    wait_for(lambda: stage.report.is_ready, "every server to be ready", within_s=120)
    wait_for(is_all_accepted, "every label to be in an accepted version", within_s=500)
    assert sorted(accepted_ids(stage, counted()["version"])) == sorted(stage.ids), "a label is lost, or there twice"


def test_the_journal_and_the_ledger_have_no_gap(stage: Stage) -> None:
    objects = S3ObjectStore.of(stage.settings)

    def numbers_in(folder: str) -> set[int]:
        uris = objects.list_uris(f"s3://{stage.settings.ratchet_bucket}/{folder}")
        return {int(uri.partition(folder)[2].partition("/")[0].partition(".")[0]) for uri in uris}

    wait_for(lambda: numbers_in("ledger/digits/"), "the first good model to be promoted", within_s=700)
    for folder in ("runs/digits/", "ledger/digits/"):
        numbers = numbers_in(folder)
        assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1)), folder


def test_down_leaves_no_process(stage: Stage) -> None:
    """Last on purpose."""
    stack_id = stage.report.stack_id
    stage.run("down")
    assert list_stack_processes(stack_id) == []


def accepted_ids(stage: Stage, version: str) -> list[str]:
    store = DvcDatasetStore.of(stage.settings, S3ObjectStore.of(stage.settings))
    shards = store.fetch_manifest(version).shards
    return [
        each
        for shard in shards
        for each in pq.read_table(BytesIO(store.fetch_shard(shard)), columns=["id"]).column("id").to_pylist()
    ]

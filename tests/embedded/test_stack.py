"""The stack on real servers: started twice, killed, damaged, stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio

from embedded import gateway, object_store, tracking
from embedded.adopted import STACK_ID_VARIABLE
from embedded.control_plane.host.processes import list_processes, process_stat
from embedded.doctor import examine_settings
from embedded.leftovers import list_stack_processes
from embedded.planning import Site, plan_stack
from embedded.ports import StackPorts
from embedded.probes import why_not_ready
from embedded.reports import read_report
from embedded.services import ReadyCheck, ServiceReport, StackPlan, StackReport
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from embedded.status import look_at_stack
from ratchet.core.errors import Unavailable
from ratchet.settings import Settings, child_env
from tests.conftest import PROJECT_DIR, settings_in

QUICK = (object_store.NAME, gateway.NAME)
"""Ready within a second."""


def start(base: Settings, services: tuple[str, ...] = QUICK) -> StackReport:
    return start_stack(base, project_dir=PROJECT_DIR, services=services, is_detached=False).report


def report_of(base: Settings) -> StackReport:
    report = read_report(layout_of(base))
    assert report, "the stack must be running"
    return report


def service_of(base: Settings, name: str) -> ServiceReport:
    return next(service for service in report_of(base).services if service.name == name)


def s3_of(base: Settings) -> Minio:
    settings = settings_in(base.state_dir)
    endpoint = settings.s3_endpoint.removeprefix("http://")
    secret = settings.s3_secret_key.get_secret_value()
    return Minio(endpoint, access_key=settings.s3_access_key, secret_key=secret, secure=False)


def put(base: Settings, key: str) -> None:
    s3_of(base).put_object("labels", key, BytesIO(b"kept"), length=4)


def wait_until(holds: Callable[[], bool], *, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of two servers; each test leaves it running."""
    base = Settings(state_dir=tmp_path_factory.mktemp("running") / "state")
    start(base)
    yield base
    stop_stack(layout_of(base))


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Settings]:
    """A stack that is down. It ends roughly: what matters is that nothing is left."""
    base = Settings(state_dir=tmp_path / "state")
    yield base
    report = read_report(layout_of(base))
    if report:
        os.kill(report.supervisor.pid, signal.SIGKILL)
    stop_stack(layout_of(base))


def test_up_twice_is_harmless(running: Settings) -> None:
    before = report_of(running)
    again = start_stack(running, project_dir=PROJECT_DIR, services=QUICK)
    assert again.was_running
    assert again.report == before


def test_status_shows_what_lives(running: Settings) -> None:
    status = look_at_stack(layout_of(running))
    assert status and status.is_ready
    assert {service.name for service in status.services} == set(QUICK)
    assert all(service.rss_mib > 0 and service.num_processes == 1 for service in status.services)
    assert set(status.endpoints) == {"kfp", "kubernetes", "mlflow", "s3", "gateway", "sensor"}


def test_a_hung_server_is_unresponsive(running: Settings) -> None:
    pid = service_of(running, gateway.NAME).pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        status = look_at_stack(layout_of(running))
        assert status and not status.is_ready
        assert [s.name for s in status.services if s.state == "unresponsive"] == [gateway.NAME]
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("name", QUICK)
def test_a_killed_server_comes_back_alone(running: Settings, name: str) -> None:
    before = {service.name: service for service in report_of(running).services}
    put(running, f"before-the-death-of/{name}")
    pid = before[name].pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service_of(running, name).restarts > before[name].restarts and report_of(running).is_ready)
    after = {service.name: service for service in report_of(running).services}
    assert after[name].port == before[name].port, "clients must find it again"
    assert after[name].pid != pid
    assert all(after[other].pid == before[other].pid for other in QUICK if other != name)
    assert s3_of(running).stat_object("labels", f"before-the-death-of/{name}").size == 4


def test_every_port_is_on_loopback(running: Settings) -> None:
    pids = {service.pid for service in report_of(running).services}
    inodes = {str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
        assert all(address.startswith("0100007F:") for address in listening), listening


@pytest.mark.parametrize(
    ("port", "path", "status"),
    [
        pytest.param("s3", "/labels", 403, id="s3"),
        pytest.param("gateway", "/v1/models/digits:predict", 404, id="gateway-without-a-model"),
    ],
)
def test_strangers_are_turned_away(running: Settings, port: str, path: str, status: int) -> None:
    number = StackPorts.model_validate_json(layout_of(running).ports.read_text()).model_dump()[port]
    assert why_not_ready(ReadyCheck(port=number, path=path)).endswith(f"answers {status}")


def test_files_are_private_and_secrets_are_in_no_log(running: Settings) -> None:
    layout = layout_of(running)
    credentials = json.loads(layout.credentials.read_text())
    secrets = (credentials["s3"]["secret_key"], credentials["mlflow_s3"]["secret_key"], credentials["kubernetes_token"])
    assert layout.state_dir.stat().st_mode & 0o077 == 0
    for path in (layout.profile, layout.kubeconfig, layout.token, *(layout.secrets / "ratchet").iterdir()):
        assert path.stat().st_mode & 0o777 == 0o600, path
    shown = [layout.report, *layout.log_of("any").parent.iterdir()]
    assert not any(secret in path.read_text(errors="replace") for path in shown for secret in secrets)
    commands = [Path(f"/proc/{stat.pid}/cmdline").read_text() for stat in list_stack_processes(credentials["stack_id"])]
    assert len(commands) == 1 + len(QUICK), "the supervisor and its servers"
    assert not any(secret in command for command in commands for secret in secrets)
    assert (layout.secrets / "ratchet" / "RATCHET_S3_SECRET_KEY").read_text() == secrets[0]


def test_up_after_kill_9_of_everything_recovers(base: Settings) -> None:
    start(base)
    put(base, "kept")
    before = report_of(base)
    pids = [before.supervisor.pid, *(service.pid for service in before.services if service.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(process_stat(pid) is None for pid in pids))
    assert look_at_stack(layout_of(base)) is None
    after = start(base)
    assert after.is_ready
    assert after.endpoints == before.endpoints, "ports that are free again are kept"
    assert s3_of(base).get_object("labels", "kept").data == b"kept"


def test_the_death_of_the_supervisor_takes_the_servers_along(base: Settings) -> None:
    report = start(base)
    os.kill(report.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not any(service.pid and process_stat(service.pid) for service in report.services))


def test_up_ends_its_own_leftovers_and_no_stranger(base: Settings) -> None:
    start(base)
    stack_id = report_of(base).stack_id
    stop_stack(layout_of(base))
    leftover = subprocess.Popen(["sleep", "60"], env=child_env({STACK_ID_VARIABLE: stack_id}))
    stranger = subprocess.Popen(["sleep", "60"], env=child_env({STACK_ID_VARIABLE: "another stack"}))
    try:
        start(base)
        assert leftover.wait(timeout=1) == -signal.SIGTERM
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_down_leaves_no_process_and_keeps_the_data(base: Settings) -> None:
    stack_id = start(base).stack_id
    put(base, "kept")
    stopped = stop_stack(layout_of(base))
    assert (stopped.num_servers, stopped.num_leftovers) == (2, 0)
    assert list_stack_processes(stack_id) == []
    assert not layout_of(base).sockets.exists()
    ports = StackPorts.model_validate_json(layout_of(base).ports.read_text()).of_seaweed()
    assert not [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]
    assert stop_stack(layout_of(base)).num_servers == 0, "down twice is harmless"
    start(base)
    assert s3_of(base).stat_object("labels", "kept").size == 4


def test_two_ups_at_once_make_one_stack(base: Settings) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from embedded.stack import start_stack; from ratchet.settings import Settings\n"
        f"start_stack(Settings(state_dir=Path(sys.argv[1])), project_dir=Path('.'), services={QUICK!r})"
    )
    command = [sys.executable, "-c", code, str(base.state_dir)]
    ups = [subprocess.Popen(command, cwd=PROJECT_DIR, env=child_env({})) for _ in range(2)]
    assert [up.wait(timeout=60) for up in ups] == [0, 0]
    report = report_of(base)
    ours = [stat for stat in list_processes() if stat.parent_pid == report.supervisor.pid]
    assert len(ours) == len(QUICK)


def test_usual_ports_that_are_taken_are_avoided(base: Settings) -> None:
    start(base)
    port = service_of(base, gateway.NAME).port
    stop_stack(layout_of(base))
    with socket.create_server(("127.0.0.1", port)):
        start(base)
        assert service_of(base, gateway.NAME).port != port


def test_a_port_lost_between_choosing_and_listening_is_replaced(
    base: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may come first; one that answers as we would must not be taken for ours."""
    import embedded.state_folder

    choose = embedded.state_folder.plan_ports
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        lost = stranger.getsockname()[1]
        monkeypatch.setattr(
            embedded.state_folder,
            "plan_ports",
            lambda **given: (
                choose(**given) if given["remembered"] else choose(**given).model_copy(update={"gateway": lost})
            ),
        )
        report = start(base)
        assert report.is_ready
        assert service_of(base, gateway.NAME).port != lost


def test_a_server_that_does_not_start_leaves_nothing_running(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import embedded.stack

    def with_broken_gateway(settings: Settings, site: Site) -> StackPlan:
        plan = plan_stack(settings, site)
        store, proxy = plan.services
        broken = proxy.model_copy(update={"command": ("sh", "-c", "echo no such model >&2; exit 3")})
        return plan.model_copy(update={"services": (store, broken)})

    monkeypatch.setattr(embedded.stack, "plan_stack", with_broken_gateway)
    with pytest.raises(
        Unavailable, match=r"gateway does not start: ended with exit code 3.*gateway\.log.*no such model"
    ):
        start(base)
    stack_id = json.loads(layout_of(base).credentials.read_text())["stack_id"]
    assert list_stack_processes(stack_id) == []


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        pytest.param({"s3_access_key": "nobody"}, "RATCHET_S3_ACCESS_KEY", id="access-key"),
        pytest.param({"s3_secret_key": "guess"}, "RATCHET_S3_SECRET_KEY", id="secret-key"),
    ],
)
def test_doctor_says_which_credential_is_wrong(running: Settings, wrong: dict[str, str], variable: str) -> None:
    settings = settings_in(running.state_dir)
    broken = Settings.model_validate({**settings.model_dump(), **wrong})

    def credential(given: Settings) -> tuple[bool, str]:
        finding = next(f for f in examine_settings(given, overridden=()) if f.name == "S3 credential")
        return finding.is_fine, finding.detail + finding.fix

    assert credential(settings)[0]
    is_fine, text = credential(broken)
    assert not is_fine
    assert variable in text


def test_mlflow_keeps_artifacts_in_the_object_store_with_a_credential_of_its_own(base: Settings) -> None:
    start(base, (object_store.NAME, tracking.NAME))
    settings = settings_in(base.state_dir)
    code = (
        "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1])\n"
        "with mlflow.start_run() as run: mlflow.log_text('hello', 'greeting.txt'); print(run.info.artifact_uri)"
    )
    command = [sys.executable, "-c", code, settings.mlflow_endpoint]
    run = subprocess.run(
        command, env=child_env(settings.client_env()), capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.startswith("mlflow-artifacts:/"), "clients need no credential of the object store"
    names = [found.object_name or "" for found in s3_of(base).list_objects("mlflow", recursive=True)]
    assert any(name.endswith("greeting.txt") for name in names)
    environ = Path(f"/proc/{service_of(base, tracking.NAME).pid}/environ").read_text().split("\0")
    assert not any(line.startswith("RATCHET_") for line in environ)
    assert f"AWS_ACCESS_KEY_ID={settings.s3_access_key}" not in environ

"""The folder of one stack before its servers start: made, locked, with ports chosen and the files that all read."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from pydantic import ValidationError

from embedded import gateway, object_store
from embedded.control_plane.host.processes import is_listener_in_group
from embedded.credentials import Credentials
from embedded.layout import Layout, make_private_dir, make_socket_dir, write_private
from embedded.leftovers import list_stack_processes
from embedded.planning import SERVING_SECRET, Site, plan_serving_secret, render_kubeconfig, render_profile
from embedded.ports import StackPorts, plan_ports, random_ports
from embedded.repositories import make_dataset_repo
from ratchet.core.errors import SettingsError, Unavailable
from ratchet.settings import Settings, variable_of

_LOCKED_WITHIN_S = 180.0
"""A start may take 120 s, and an earlier one may be ended before it."""
_POLL_S = 0.1


def layout_of(settings: Settings) -> Layout:
    return Layout(state_dir=settings.state_dir.absolute())


def make_state_dir(layout: Layout) -> None:
    variable = variable_of("state_dir")
    if not str(layout.state_dir).isprintable():  # nor are half surrogates, which stand for bytes that are no UTF-8
        raise SettingsError(
            f"{variable}: the path {str(layout.state_dir)!r} has control characters, or bytes that are not UTF-8, "
            f"which profiles and servers cannot read. Name another folder in {variable}."
        )
    try:
        make_private_dir(layout.state_dir)
    except OSError as error:
        raise SettingsError(f"{variable}: {error}. Name a folder that you may write in {variable}.") from None


def choose_site(
    layout: Layout, credentials: Credentials, *, project_dir: Path, services: tuple[str, ...], is_lasting: bool
) -> Site:
    """On the ports of the last start where they are free, or held by the servers of that start, which live on."""
    ours = {stat.group for stat in list_stack_processes(credentials.stack_id)}

    def is_usable(port: int) -> bool:
        return object_store.is_port_usable(port) or any(is_listener_in_group(group, port=port) for group in ours)

    ports = plan_ports(remembered=remembered_ports(layout), is_free=is_usable, candidates=random_ports())
    write_private(layout.ports, ports.model_dump_json(indent=1))
    return Site(
        layout=layout,
        project_dir=project_dir.absolute(),
        ports=ports,
        credentials=credentials,
        socket_dir=make_socket_dir(layout),
        services=services,
        is_lasting=is_lasting,
    )


def remembered_ports(layout: Layout) -> dict[str, int]:
    """Those of the last start; a file that is not there or damaged remembers nothing."""
    with suppress(OSError, ValidationError):
        return StackPorts.model_validate_json(layout.ports.read_text()).model_dump()
    return {}


def write_files(settings: Settings, site: Site) -> None:
    """All that the servers and their clients read."""
    layout = site.layout
    for folder in (layout.object_store, layout.mlflow, layout.gateway, layout.control_plane, layout.secrets):
        make_private_dir(folder)
    object_store.write_object_store_files(
        layout,
        site.credentials,
        ratchet_bucket=settings.ratchet_bucket,
        image_buckets=settings.request_image_buckets,
    )
    object_store.write_webhook(
        layout,
        sensor_endpoint=settings.sensor_endpoint,
        token=settings.sensor_token.get_secret_value(),
        bucket=settings.labels_bucket,
    )
    gateway.write_gateway_files(layout, settings, ports=site.ports, admin_socket=site.admin_socket)
    write_private(layout.token, site.credentials.kubernetes_token)
    write_private(layout.mlflow_token, site.credentials.mlflow_token)
    write_private(layout.kfp_token, site.credentials.kfp_token)
    write_private(layout.signing_key, site.credentials.signing_key)
    write_private(layout.trusted_keys, site.credentials.trusted_keys())
    write_private(layout.kubeconfig, render_kubeconfig(settings))
    for name, value in settings.as_env().items():
        write_private(layout.secrets / "ratchet" / name, value)
    for name, value in plan_serving_secret(settings, site.credentials).items():
        write_private(layout.secrets / SERVING_SECRET / name, value)
    make_dataset_repo(layout.dataset_repo)
    write_private(layout.profile, render_profile(settings))


@contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Hold the lock of `up` and `down`. The kernel frees it however its holder ends."""
    deadline = time.monotonic() + _LOCKED_WITHIN_S
    with FileIO(str(layout.up_lock), "w") as file:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise Unavailable(f"Another `ratchet up` or `ratchet down` holds {layout.up_lock}. Wait for it to end.")
            # Polled, as flock(2) cannot wait with a deadline.
            time.sleep(_POLL_S)
        yield

"""Where the workers of a training find each other. Torch's stores listen on every interface and let anyone in; where
all workers are on one machine, these listen on loopback alone.

It reads the environment, as settings.py does: torchrun and gloo are told nothing in another way.
"""

import os
import socket
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend, create_backend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint

from wire.loopback import is_loopback

RENDEZVOUS = "c10d-loopback"
"""Name of `rendezvous_of` as torchrun's --rdzv-backend."""
_STORE_TIMEOUT = timedelta(seconds=60)
_BACKLOG = 128


class _Place(NamedTuple):
    """Where torchrun has told its workers to meet, and which of how many this one is."""

    host: str
    port: int
    rank: int
    world_size: int
    has_store: bool
    """torchrun itself holds the store there; else the worker of rank 0 has to."""


class _NamedBackend(C10dRendezvousBackend):
    @property
    def name(self) -> str:
        """torchrun compares it with what it was asked for."""
        return RENDEZVOUS


def meet_the_others(backend: str = "gloo") -> None:
    """The process group, of torchrun's workers or of this process alone."""
    if not dist.is_torchelastic_launched():
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        return
    # By default gloo waits 30 minutes for a worker that died.
    timeout = timedelta(seconds=60)
    place = _place_from_env()
    if not is_loopback(place.host):
        dist.init_process_group(backend, timeout=timeout)
        return
    name = loopback_interface()
    os.environ.update({"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name})
    store = loopback_store(place.host, place.port, is_first=place.rank == 0 and not place.has_store, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world_size, timeout=timeout)


def rendezvous_of(parameters: RendezvousParameters) -> RendezvousHandler:
    """torchrun's c10d rendezvous. For an endpoint on loopback the first node that comes holds the store, as with c10d,
    and tells the workers to meet on loopback too; port 0: any that is free, for a node that is the only one."""
    host, port = parse_rendezvous_endpoint(parameters.endpoint, default_port=0)
    if is_loopback(host):
        parameters.local_addr = host
        store: dist.Store = loopback_store(host, port, is_first=None, timeout=_STORE_TIMEOUT)
    else:
        _, store = create_backend(parameters)
    return create_handler(store, _NamedBackend(store, parameters.run_id), parameters)


def _place_from_env() -> _Place:
    """Of a process that torchrun started; KeyError in any other."""
    port, rank, world_size = (int(os.environ[name]) for name in ("MASTER_PORT", "RANK", "WORLD_SIZE"))
    has_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return _Place(os.environ["MASTER_ADDR"], port, rank, world_size, has_store)


def loopback_interface() -> str:
    """`lo` on Linux, `lo0` on macOS."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def loopback_store(host: str, port: int, *, is_first: bool | None, timeout: timedelta) -> dist.TCPStore:
    """is_first: whether this process holds the store; None: whoever comes first does."""
    listener = _listen(host, port) if is_first is not False else None
    if listener is None:
        if is_first:
            raise OSError(f"port {port} of {host} is taken: the workers cannot meet there")
        return dist.TCPStore(host, port, is_master=False, timeout=timeout)
    # The store closes what it listens on, so it gets the number alone.
    return dist.TCPStore(
        host,
        listener.getsockname()[1],
        is_master=True,
        timeout=timeout,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )


def _listen(host: str, port: int) -> socket.socket | None:
    """None where another does already. It listens at once, for two may bind a port that neither listens on yet."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a generation of workers that has just ended
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    return listener

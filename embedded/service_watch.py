"""Looking at one server that was started: until it is ready, and from then on whether it hangs."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from embedded.control_plane.host.held import Held
from embedded.control_plane.host.liveness import HangWatch
from embedded.control_plane.host.processes import cpu_s_of_group, is_listener_in_group
from embedded.probes import probe, why_not_ready
from embedded.services import Service

LOOK_EVERY_S = 2.0
_LOOK_TIMEOUT_S = 2.0
_PROBE_EVERY_S = 0.1


async def wait_until_ready(service: Service, server: Held, *, deadline: float) -> str:
    """Empty when it is ready: it answers, and on a port of its own. Else the reason."""
    while True:
        problem = await asyncio.to_thread(why_not_ready, service.ready)
        if server.has_ended:
            return "ended before it was ready"
        if not problem and await asyncio.to_thread(is_listener_in_group, server.pid, port=service.port):
            return ""
        problem = problem or f"port {service.port} belongs to another program"
        if time.monotonic() > deadline:
            return f"not ready within {service.ready.within_s:.0f} s ({problem})"
        await asyncio.sleep(_PROBE_EVERY_S)


async def wait_until_hung(service: Service, server: Held, *, on_red: Callable[[str], None]) -> str:
    """Until it has ended (then empty), or counts as hung: the reason. on_red: told why it is red, "" when no longer."""
    watch = HangWatch(service.hangs)
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(server.ended(), LOOK_EVERY_S)
        if server.has_ended:
            return ""
        seen = await asyncio.to_thread(probe, service.ready, timeout_s=_LOOK_TIMEOUT_S)
        cpu_s = await asyncio.to_thread(cpu_s_of_group, server.pid) if seen.problem else 0.0
        was_red = watch.red is not None
        hung = watch.note(seen.problem, has_answered=seen.has_answered, now_s=time.monotonic(), cpu_s=cpu_s)
        if hung and not server.has_ended:
            return hung
        if watch.red:
            on_red(f"red for {watch.red.for_s:.0f} s: {watch.red.problem}")
        elif was_red:
            on_red("")

"""Steady user traffic: `python -m demo.traffic`. Each request and its answer is one JSON line in a file.

Open loop: requests leave at a fixed rate whether or not earlier ones were answered, as users do.
"""

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import aiohttp
import numpy as np

from demo.data import Scans, load_scans

EMPTY_SHEET_SHARE = 0.2
"""Of the requests that are scans of an empty sheet."""
_TIMEOUT_S = 10.0
_CONNECTIONS_MAX = 64
_BEHIND_S_MAX = 0.5
"""Of this process: what a busy machine kept it from sending is not sent late, all at once, which no users do."""


async def send_steadily(
    *, url: str, rate_per_s: float, out: TextIO, stop: asyncio.Event, instances: Sequence[Any] = ()
) -> None:
    """Send until `stop`; then wait for the answers that are under way. instances: what is asked; scans without them."""
    random = np.random.default_rng()
    scans = None if instances else load_scans()
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX)
    ) as client:
        under_way: set[asyncio.Task[None]] = set()
        next_at = time.monotonic()
        while not stop.is_set():
            task = asyncio.create_task(_send_one(client, url, _pick(scans, instances, random), out))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            next_at = next_send_at(next_at, rate_per_s=rate_per_s, now=time.monotonic())
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        await asyncio.gather(*under_way)


def next_send_at(planned_at: float, *, rate_per_s: float, now: float) -> float:
    """When the request after the one that was planned then leaves, in seconds."""
    return max(planned_at + 1 / rate_per_s, now - _BEHIND_S_MAX)


def _pick(scans: Scans | None, instances: Sequence[Any], random: np.random.Generator) -> Any:
    if scans is None:
        return instances[int(random.integers(len(instances)))]
    if random.random() < EMPTY_SHEET_SHARE:
        return [0.0] * scans.pixels_NF.shape[1]
    return [float(pixel) for pixel in scans.pixels_NF[random.integers(len(scans.pixels_NF))]]


async def _send_one(client: aiohttp.ClientSession, url: str, instance: Any, out: TextIO) -> None:
    sent_at, started = time.time(), time.perf_counter()
    answer: dict[str, Any]
    try:
        async with client.post(url, json={"instances": [instance]}) as response:
            await response.read()
            answer = {
                "status": response.status,
                "revision": response.headers.get("x-ratchet-revision", ""),
                "model": response.headers.get("x-ratchet-model", ""),
            }
    except (aiohttp.ClientError, TimeoutError) as error:
        answer = {"status": 0, "revision": "", "model": "", "error": repr(error)}
    latency_ms = round((time.perf_counter() - started) * 1000, 2)
    out.write(json.dumps({"t": round(sent_at, 3), **answer, "latency_ms": latency_ms}) + "\n")
    out.flush()


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    lines = arguments.instances.read_bytes().splitlines() if arguments.instances else []
    instances = [json.loads(line) for line in lines]
    with arguments.out.open("a") as out:
        await send_steadily(url=arguments.url, rate_per_s=arguments.rate, out=out, stop=stop, instances=instances)


def main() -> None:
    parser = argparse.ArgumentParser(description="Send instances to a gateway at a steady rate until SIGTERM.")
    parser.add_argument("--url", required=True, help="for example http://127.0.0.1:17000/v1/models/digits:predict")
    parser.add_argument("--rate", type=float, default=80, help="requests per second")
    parser.add_argument("--out", type=Path, required=True, help="file that gets one JSON line a request")
    parser.add_argument("--instances", type=Path, help="file with one instance a line, in the place of digits")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()

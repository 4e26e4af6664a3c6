"""The settings, the clock and the object store: what every room stands on."""

from functools import lru_cache

from ratchet.core import ports
from ratchet.settings import Settings, load_settings


def settings() -> Settings:
    return load_settings()


def clock() -> ports.Clock:
    from ratchet.adapters.clock import SystemClock

    return SystemClock()


@lru_cache
def object_store() -> ports.ObjectStore:
    from ratchet.adapters.s3 import S3ObjectStore

    return S3ObjectStore.of(settings())

"""Servers that more than one contract test asks."""

from collections.abc import Iterator

import pytest

from tests.contract.prometheus_world import PrometheusWorld, prometheus_world


@pytest.fixture(scope="session")
def prometheus() -> Iterator[PrometheusWorld]:
    """One for all: it needs 5 s before it scrapes for the first time."""
    with prometheus_world() as world:
        yield world

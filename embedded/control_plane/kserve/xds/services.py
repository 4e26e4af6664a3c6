"""What Envoy is told about, as values: running revisions, and services with the share of each revision."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Endpoint(BaseModel):
    """One running revision: its processes, each on a loopback port."""

    model_config = ConfigDict(frozen=True)

    service: str
    revision: str
    ports: tuple[int, ...]


class Mirror(BaseModel):
    """Copies of so many per cent of the requests go to a revision that has no traffic."""

    model_config = ConfigDict(frozen=True)

    revision: str
    percent: int


class PathMatch(BaseModel):
    """One path, or all below it."""

    model_config = ConfigDict(frozen=True)

    path: str
    is_prefix: bool = False


class RoutedService(BaseModel):
    """A service and the share of each revision: 0 to 100 per cent, summing to 100, or none at all yet."""

    model_config = ConfigDict(frozen=True)

    name: str
    percent_by_revision: Mapping[str, int]
    paths: tuple[PathMatch, ...] = ()
    """Of its requests; empty for those of the model of that name."""
    mirror: Mirror | None = None
    problem: str = ""
    """Why no revision that gets traffic answers: what users are told meanwhile."""

    @property
    def label(self) -> str:
        """For people: `digits`, of the HTTPRoute `httproute/default/digits` too."""
        return self.name.rpartition("/")[2]

    @property
    def routed(self) -> tuple[str, ...]:
        """The revisions that get traffic, in order of their names."""
        return tuple(sorted(name for name, percent in self.percent_by_revision.items() if percent > 0))

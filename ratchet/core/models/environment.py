"""What a training ran on, beside its inputs: what may move the last bits of its numbers. Pure."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

ENVIRONMENT_FILE = "environment.json"
"""Beside a model's digest: it describes the training and is no part of the model's identity."""


class TrainingEnvironment(BaseModel):
    """`environment.json`, as worker 0 wrote it. "" and None: not recorded."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer Ratchet may have written more

    packages: Mapping[str, str] = {}
    """Version by distribution: what does the sums, and what the model's code imports."""
    python: str = ""
    platform: str = ""
    """System, machine and C library: "Linux x86_64, glibc 2.36"."""
    cpu: str = ""
    """Its model's name."""
    cpu_kernels: str = ""
    """The instruction set that torch chose its kernels for: "AVX2"."""
    device: str = ""
    """Where the network was trained: "cpu", or the name of the accelerator."""
    driver: str = ""
    """Of the accelerator; "" of a CPU."""
    compiler: str = ""
    """The C++ compiler behind `training.compile`, by its own words; "" of a network that was not compiled."""
    world_size: int | None = None
    """Number of workers."""
    num_threads: int | None = None
    """Of each worker."""
    seed: int | None = None
    """All seeds of the training derive from it."""

    @classmethod
    def of_lineage(cls, lineage: Mapping[str, str]) -> "TrainingEnvironment":
        """What the lineage of a model says that was registered before environments were recorded."""
        packages = {name: lineage[name] for name in ("lightgbm", "torch") if lineage.get(name)}
        numbers = {
            name: int(lineage[name])
            for name in ("world_size", "num_threads", "seed")
            if lineage.get(name, "").isdecimal()
        }
        return cls(packages=packages, python=lineage.get("python", ""), device=lineage.get("device", ""), **numbers)

    @property
    def rows(self) -> Iterator[tuple[str, str]]:
        """Name for people, and value, of what is recorded."""
        for name, version in sorted(self.packages.items()):
            yield name, version
        for field, name in _NAMES.items():
            value = getattr(self, field)
            if value not in {"", None}:
                yield name, str(value)


_NAMES = {
    "python": "Python",
    "platform": "platform",
    "cpu": "CPU",
    "cpu_kernels": "CPU kernels",
    "device": "device",
    "driver": "driver",
    "compiler": "compiler",
    "world_size": "workers",
    "num_threads": "threads",
    "seed": "seed",
}


def environment_of(data: bytes) -> TrainingEnvironment | None:
    """From the file. None when it cannot be read: it describes the training, no more."""
    try:
        return TrainingEnvironment.model_validate_json(data)
    except ValueError:
        return None


class EnvironmentDifference(NamedTuple):
    """One thing that is not as it was."""

    what: str
    then: str
    now: str

    @property
    def text(self) -> str:
        return f"{self.what} {self.then} → {self.now}"


def environment_differences(then: TrainingEnvironment, now: TrainingEnvironment) -> tuple[EnvironmentDifference, ...]:
    """What differs of all that was recorded then; what was not recorded cannot be compared. Packages come first."""
    here = dict(now.rows)
    return tuple(
        EnvironmentDifference(name, value, here.get(name, "absent"))
        for name, value in then.rows
        if here.get(name) != value
    )

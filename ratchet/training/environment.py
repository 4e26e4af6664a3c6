"""Writes down what a training runs on: asked of the process that trains, since another one may lie elsewhere."""

import platform
from pathlib import Path

import torch

from ratchet.core.models.environment import TrainingEnvironment
from ratchet.tasks.code_collect import TaskCode
from ratchet.tasks.origins import LIBRARY, distributions_of
from ratchet.training.compiling import compiler_of
from ratchet.training.devices import driver_of, name_of
from ratchet.training.job import TrainingJob
from ratchet.training.running import CPU

_DECISIVE = (LIBRARY, "numpy", "pyarrow", "safetensors", "torch")
_CPUINFO = Path("/proc/cpuinfo")


def record_environment(job: TrainingJob, code: TaskCode, device: torch.device = CPU) -> None:
    """Where the job asks for it. The training goes on in any case: it describes, and decides nothing."""
    if job.environment_path is not None:
        job.environment_path.write_text(_environment_of(job, code, device).model_dump_json(indent=1) + "\n")


def _environment_of(job: TrainingJob, code: TaskCode, device: torch.device) -> TrainingEnvironment:
    spec, training = job.spec, job.spec.training
    libraries = (*_DECISIVE, "lightgbm") if spec.model.learner == "trees" else _DECISIVE
    return TrainingEnvironment(
        packages={**code.requirements, **distributions_of(libraries)},
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver()).strip() or 'unknown libc'}",
        cpu=_cpu_name(),
        cpu_kernels=torch.backends.cpu.get_cpu_capability(),
        device=name_of(device),
        driver=driver_of(device),
        compiler="" if spec.model.learner == "trees" else compiler_of(spec, device),
        world_size=1 if spec.model.learner == "trees" else training.world_size,
        num_threads=training.num_threads,
        seed=training.seed,
    )


def _cpu_name() -> str:
    """`platform.processor` says nothing on Linux."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")

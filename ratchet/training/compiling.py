"""`training.compile`: the network's passes go through torch.compile.

The bits have to be the same after any kill, so nothing of what is compiled may depend on where a process began: each
shape of a batch has a graph of its own (batches have two sizes at most), nothing is chosen by the clock, and a network
that asks for ever new graphs is refused, where torch would go on with what is not compiled.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from ratchet.core.errors import PolicyError
from ratchet.core.models.compiling import Compiled, FoundCompiler, why_not_compiled
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob

_CACHE = "compiled"
"""Folder of a training's scratch: a worker that is started again loads what the one before it has compiled."""
_VERSION_S = 10.0
"""A compiler tells its version in milliseconds; one on a folder that hangs must not hang a training."""


def check_compiles(spec: TaskSpec, device: torch.device) -> None:
    """PolicyError where the task file asks for what this machine has not."""
    how = _how_of(spec)
    if how != "off" and (missing := why_not_compiled(how, find_compiler(device))):
        raise PolicyError(
            f"`training.compile` of {spec.name!r} is {how}: {missing}. Install it in the image that trains, or set "
            "`compile: off` (`auto` compiles where it can)."
        )


def find_compiler(device: torch.device) -> FoundCompiler:
    import torch._inductor.config as inductor  # half a second, which only a training that compiles has to wait for
    from torch.utils._triton import has_triton

    wanted = [str(each) for each in inductor.cpp.cxx if each]
    found = next((path for each in wanted if (path := shutil.which(each))), "")
    return FoundCompiler(device.type, found, wanted[-1], has_triton=device.type != "cpu" and has_triton())


def compiler_of(spec: TaskSpec, device: torch.device) -> str:
    """What decides the last bits beside torch: the first line of what the C++ compiler says; "" of what is not
    compiled."""
    if _how_of(spec) == "off" or not (path := find_compiler(device).cpp):
        return ""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next(iter(told.stdout.splitlines()), "")


def passes_of(network: torch.nn.Module, spec: TaskSpec) -> Callable[[torch.Tensor], Any]:
    """The network as a step calls it. It compiles at its first call, inside `compiling`."""
    how = _how_of(spec)
    if how == "off":
        return network.__call__
    torch.compiler.reset()  # what the network was compiled as before, as with frozen layers, counts no more
    passes = torch.compile(
        lambda inputs: network(inputs), dynamic=False, mode="reduce-overhead" if how == "graph" else None
    )
    if how == "on":
        return passes

    def replayed(inputs: torch.Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return passes(inputs)

    return replayed


@contextmanager
def compiling(job: TrainingJob, device: torch.device) -> Iterator[None]:
    """Around all steps of a training. PolicyError for a network that cannot be compiled."""
    if _how_of(job.spec) == "off":
        yield
        return
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    with ExitStack() as within:
        within.enter_context(temporary_cache_dir(str(job.model_path.with_name(_CACHE))))
        within.enter_context(dynamo.patch(fail_on_recompile_limit_hit=True))
        # `deterministic`: no kernel is chosen by timing it. On a CPU a network has few kernels, and the processes that
        # would compile them side by side load torch each.
        few: dict[str, Any] = {"compile_threads": 1} if device.type == "cpu" else {}
        within.enter_context(inductor.patch({"deterministic": True, **few}))
        try:
            yield
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            first = str(error).strip().partition("\n")[0]
            raise PolicyError(
                f"torch.compile cannot compile the network of {job.spec.implementation}: {type(error).__name__}: "
                f"{first}. Set `training: {{compile: off}}` for {job.spec.name!r}."
            ) from error
        finally:
            torch.compiler.reset()


def _how_of(spec: TaskSpec) -> Compiled:
    """`auto` was measured before a worker starts; where nothing was, nothing is compiled."""
    how = spec.training.compile
    return "off" if how == "auto" else how

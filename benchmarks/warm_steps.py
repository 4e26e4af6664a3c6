"""CPU of a pipeline step that does nothing but import what a component imports: `python -m benchmarks.warm_steps`.

Each step runs by the engine's own code, in an interpreter of its own and forked from a process that has done the
imports; the CPU is what the step's process used until its function ended. Prints a JSON line a step.
"""

import json
import tempfile
from pathlib import Path

from embedded.planning import WARM_MODULES
from tests.embedded.warm_world import World, world_in

STEPS = {
    "nothing": "",
    "register": "import mlflow",
    "evaluate": "import torch, scipy.special, pyarrow.parquet",
    "validate": "import great_expectations, pandas, pyarrow.parquet",
}


def cpu_s_of(world: World, imports: str, *, is_forked: bool) -> float:
    return float(world.told(f"{imports}\nimport time\ntold = time.process_time()", is_forked=is_forked))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = world_in(Path(folder), *WARM_MODULES)
        try:
            world.wait_warm()
            for name, imports in STEPS.items():
                plain, forked = (cpu_s_of(world, imports, is_forked=is_forked) for is_forked in (False, True))
                print(json.dumps({"step": name, "plain_s": round(plain, 2), "forked_s": round(forked, 2)}), flush=True)
        finally:
            world.warm.close()


if __name__ == "__main__":
    main()

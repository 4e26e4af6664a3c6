"""Compile the pipelines to `pipelines/compiled/*.yaml`, which is committed: `python -m pipelines.compile [--check]`.

The same sources and the same kfp give the same bytes (measured: any folder, any hash seed), so a check compares bytes.
"""

import argparse
import difflib
import importlib
import sys
import tempfile
import warnings
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PIPELINES = {
    "retrain": "pipelines.retrain:retrain",
    "rollout": "pipelines.rollout:rollout",
    "rollback": "pipelines.rollback:rollback",
    "drift-monitor": "pipelines.drift_monitor:drift_monitor",
    "batch-predict": "pipelines.batch_predict:batch_predict",
}
"""Name in KFP to `module:function`."""
COMPILED_DIR = Path(__file__).parent / "compiled"
_DIFF_LINES_MAX = 40


class Compiled(BaseModel):
    """One pipeline after compiling, compared with the file that was there."""

    model_config = ConfigDict(frozen=True)

    name: str
    path: Path
    is_current: bool
    """Whether the file already held these bytes."""
    diff: str
    """The first lines of what differs; "" when nothing does."""


def compile_all(compiled_dir: Path = COMPILED_DIR, *, write: bool = True) -> list[Compiled]:
    """Compile every pipeline; with `write`, put each file that differs in place."""
    return [_compile(name, compiled_dir / f"{name}.yaml", write=write) for name in PIPELINES]


def _compile(name: str, path: Path, *, write: bool) -> Compiled:
    new = compile_text(PIPELINES[name])
    old = path.read_text() if path.is_file() else ""
    if write and new != old:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(new)
        partial.replace(path)
    return Compiled(name=name, path=path, is_current=new == old, diff=_diff(old, new, path=path))


def compile_text(source: str) -> str:
    """The YAML of the pipeline function `module:function`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import compiler

        module_name, _, function_name = source.partition(":")
        pipeline = getattr(importlib.import_module(module_name), function_name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            compiler.Compiler().compile(pipeline, str(path))
            return path.read_text()


def _diff(old: str, new: str, *, path: Path) -> str:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{path.name} (committed)", f"{path.name} (compiled)", n=1, lineterm=""
    )
    return "\n".join(line for line, _ in zip(lines, range(_DIFF_LINES_MAX), strict=False))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    arguments = parser.parse_args(argv)
    compiled = compile_all(write=not arguments.check)
    for each in compiled:
        state = "current" if each.is_current else ("STALE" if arguments.check else "written")
        sys.stdout.write(f"{state:8} {each.path}\n")
        if arguments.check and not each.is_current:
            sys.stdout.write(f"{each.diff}\nRun `ratchet pipelines compile` and commit the file.\n")
    return 1 if arguments.check and not all(each.is_current for each in compiled) else 0


if __name__ == "__main__":
    sys.exit(main())

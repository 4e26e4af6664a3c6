"""The command of a component that KFP's compiler wrote, when it does nothing but run its function. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SHELLS = (("sh", "-c"), ("sh", "-ec"))
_SCRIPT = re.compile(
    r'program_path=\$\(mktemp -d\)\s+printf "%s" "\$0" > "\$program_path/ephemeral_component\.py"\s+'
    r"_KFP_RUNTIME=true python3 -m kfp\.dsl\.executor_main\s+--component_module_path\s+"
    r'"\$program_path/ephemeral_component\.py"\s+"\$@"\s*'
)
"""Source: kubeflow/pipelines, kfp/dsl/component_factory.py, _get_command_and_args_for_lightweight_component."""
PYTHON = "python3"
"""What the script starts."""
_WORD_BYTES_MAX = 128 * 1024
"""Of one argument that Linux starts a program with (MAX_ARG_STRLEN, with its end): a longer one fails in any case."""


@dataclass(frozen=True)
class ExecutorCall:
    source: str
    """Of the module with the component's function."""
    arguments: tuple[str, ...]
    """For kfp.dsl.executor_main, after the module's path."""


def executor_call_of(words: Sequence[str]) -> ExecutorCall | None:
    """None for any other command: one that installs packages first, one of a container component."""
    if tuple(words[:2]) not in _SHELLS or len(words) < 4 or not _SCRIPT.fullmatch(words[2].strip()):
        return None
    if any(len(word.encode(errors="surrogateescape")) >= _WORD_BYTES_MAX for word in words):
        return None
    return ExecutorCall(words[3], tuple(words[4:]))

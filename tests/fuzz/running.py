"""How every fuzzer runs: from a seed, bounded by a number of inputs and by time, each failure with its input.

    fuzz(make, check, num_inputs=1000)

Input `n` depends on the seed and on `n` alone, so `FUZZ_SEED=7 FUZZ_INPUT=412 pytest FILE` repeats one failure.
`FUZZ_SECONDS=60` (`make fuzz`) runs each fuzzer for that long, with as many inputs as fit. A failing input is printed
as a Python expression, to be pasted into a test; one that is too long to print lies in a file, as such an expression.
"""

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from tempfile import NamedTemporaryFile
from typing import TypeVar

Input = TypeVar("Input")

SEED = int(os.environ.get("FUZZ_SEED", "1"))
_NUM_SHOWN = 5
_CHARS_SHOWN = 600
_SLICE_S = 5.0
"""How long a fuzzer takes in `make test` at most."""


@dataclass
class _Found:
    """One kind of failure: the exception and the line of ours that raised it."""

    first: int
    text: str
    numbers: list[int] = field(default_factory=list)


def fuzz(
    make: Callable[[Random], Input], check: Callable[[Input], object], *, num_inputs: int, seconds_max: float = _SLICE_S
) -> int:
    """Make inputs and check each; the number that was checked. An AssertionError lists each kind of failure once.

    make: an input from random choices. check: raises for an input that is handled in a wrong way.
    """
    longer_s = float(os.environ.get("FUZZ_SECONDS", "0"))
    only = os.environ.get("FUZZ_INPUT")
    numbers = [int(only)] if only else count() if longer_s else range(num_inputs)
    ends_at = time.monotonic() + (longer_s or seconds_max)
    found: dict[str, _Found] = {}
    num = 0
    for number in numbers:
        if time.monotonic() > ends_at:
            break
        made = make(Random(f"{SEED}:{number}"))
        num += 1
        try:
            check(made)
        except Exception as error:
            kind = _kind_of(error)
            found.setdefault(kind, _Found(number, _shown(made, error))).numbers.append(number)
    assert num, "no input was tried: nothing is known"
    assert not found, _report(found, num)
    return num


def _kind_of(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    text = str(error) if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} {last.filename}:{last.lineno} {text[:60]}"


def _shown(made: object, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    place = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[::-1])
    what = f"{type(error).__name__}: {ascii(str(error))[:_CHARS_SHOWN]}"
    return f"{what}\n  at {place}\n  input {_pasteable(made)}"


def _pasteable(made: object) -> str:
    """The input as an expression, or the name of a file that holds it."""
    try:
        text = ascii(made)
    except (RecursionError, ValueError):
        return "is too deep or too large to print: FUZZ_INPUT makes it again"
    if len(text) <= _CHARS_SHOWN:
        return text
    with NamedTemporaryFile("w", prefix="fuzz-input-", suffix=".py", delete=False) as file:
        file.write(text)
    return f"is in {file.name} ({len(text)} characters), which begins {text[:80]}"


def _report(found: dict[str, _Found], num: int) -> str:
    kinds = list(found.values())
    num_failed = sum(len(kind.numbers) for kind in kinds)
    head = f"{num_failed} of {num} inputs failed in {len(kinds)} ways (FUZZ_SEED={SEED})"
    return "\n".join(
        [
            head,
            *(
                f"- {len(kind.numbers)} inputs, first FUZZ_INPUT={kind.first}: {kind.text}"
                for kind in kinds[:_NUM_SHOWN]
            ),
        ]
    )

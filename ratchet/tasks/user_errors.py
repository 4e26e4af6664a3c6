"""An exception in a sentence that a user can act on: its own words, and the line of their code that raised it."""

import re
import traceback
from pathlib import Path

import ratchet
from ratchet.core.errors import RatchetError

_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib/python3\.\d+/|^<frozen ")
_ROOT = Path(ratchet.__file__).parents[1]
_PRODUCT_DIRS = tuple(
    f"{_ROOT / name}/" for name in ("ratchet", "components", "pipelines", "sensors", "embedded", "wire")
)
_EXAMPLE = f"{_ROOT}/ratchet/tasks/digits.py"
"""Ours, and to be edited or copied like a user's."""
_COMPONENT_FILE = "ephemeral_component.py"
"""Where KFP's executor puts the source of a component, which is ours."""
_WORDS_MAX = 600


def sentence_of(error: BaseException) -> str:
    """`NameError: name 'foo' is not defined (/home/my_task.py, line 12, in loss)`. An expected error says its own."""
    if isinstance(error, RatchetError):
        return str(error)
    place = place_of(error)
    return f"{_words_of(error)} ({place})" if place else _words_of(error)


def place_of(error: BaseException) -> str:
    """`/home/my_task.py, line 12, in loss`: the innermost frame of the user's code; "" when it has none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _LIBRARY.search(frame.filename)]
    chosen = [frame for frame in frames if _is_users(frame.filename)]
    if not chosen:
        return place_of(error.__cause__) if error.__cause__ is not None else ""
    frame = chosen[-1]
    within = "" if frame.name == "<module>" else f", in {frame.name}"
    return f"{frame.filename}, line {frame.lineno}{within}"


def is_user_error(error: BaseException) -> bool:
    """Whether it passed through code that is neither a library's nor the product's."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(_is_users(frame.filename) and not _LIBRARY.search(frame.filename) for frame in frames)


def _is_users(filename: str) -> bool:
    is_ours = filename.startswith(_PRODUCT_DIRS) and filename != _EXAMPLE
    return not is_ours and not filename.endswith(f"/{_COMPONENT_FILE}")


def _words_of(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the code called sys.exit({error.code!r})"
    words = " ".join(str(error).split())[:_WORDS_MAX]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__

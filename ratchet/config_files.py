"""Task, policy and schedule files: YAML that people write, read into plain JSON values and models.

Whatever such a file holds, the outcome is a value or a PolicyError that names file and line. What JSON does not have
(non-finite numbers, binary, sets, keys that are no text) is refused, because digests are made of these values.
"""

import logging
import math
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ratchet.core.errors import PolicyError
from wire.printable import printable
from wire.validation_text import first_problem, validation_text

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)
_DEPTH_MAX = 60
_VALUES_MAX = 100_000
"""YAML aliases can make a small file enormous ("billion laughs")."""
_NUMBER_CHARS_MAX = 400
"""YAML's numbers to the base 60 (`1:59:59`) are read in the square of their length."""
_TAGS = ("null", "bool", "int", "float", "timestamp", "str", "seq", "map")
_PREFIX = "tag:yaml.org,2002:"


def load_model(path: Path, kind: type[Model]) -> Model:
    """The file as a model. PolicyError names file, line and field."""
    value = load_yaml(path)
    try:
        model = kind.model_validate(value)
        _tell_old_names(path, value, kind)
        return model
    except ValidationError as error:
        text = validation_text(error, value=value, kind=kind)
        place, _ = first_problem(error, value=value)
        line = line_of(_read(path), place)
        where = f"{path}, line {line}" if line else str(path)
        raise PolicyError(f"{where}: {text}. Correct the file; {kind.__name__} lists its fields.") from None


def _tell_old_names(path: Path, value: Any, kind: type[BaseModel]) -> None:
    for old, new in getattr(kind, "RENAMED_FIELDS", {}).items():
        if isinstance(value, dict) and old in value:
            log.warning("%s: %s is now %s, whose meaning %s describes. Rename it.", path, old, new, kind.__name__)


def load_yaml(path: Path) -> Any:
    """The file's one document: objects with text keys, lists, texts, finite numbers, booleans, nulls."""
    text = _read(path)
    try:
        value = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader that knows even less
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyError(_bad(path, line, f"the character U+{error.character:04X} is not allowed")) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise PolicyError(_bad(path, mark.line + 1 if mark else 0, error.problem or "it cannot be read")) from None
    if _num_values(value) > _VALUES_MAX:
        raise PolicyError(_bad(path, 0, f"it holds more than {_VALUES_MAX:,} values; remove its aliases"))
    return value


def line_of(text: str, place: tuple[str | int, ...]) -> int | None:
    """The line, from 1, of the field at that place, else of the nearest thing around it; None when that is the file."""
    node, line = yaml.compose(text, Loader=_PlainLoader), None
    for part in place:
        found = _child_of(node, part)
        if found is None:
            break
        line, node = found
    return line


def _child_of(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        named = [pair for pair in node.value if pair[0].value == str(part)]
        return (named[-1][0].start_mark.line + 1, named[-1][1]) if named else None
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PolicyError(f"{path} is not there. Add it, or point RATCHET_CONFIGS_DIR to the right folder.") from None
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}. Make it a file that this user may read.") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise PolicyError(f"{path}, line {line}: the byte 0x{byte:02X} is not UTF-8. Save the file as UTF-8.") from None


def _bad(path: Path, line: int, problem: str) -> str:
    where = f"{path}, line {line}" if line else str(path)
    return f"{where}: this is not valid here: {printable(problem)}. Correct the file."


def _num_values(value: Any) -> int:
    """Counted until it is too many: an alias of itself has no end."""
    todo, num = [value], 0
    while todo and num <= _VALUES_MAX:
        each = todo.pop()
        num += 1
        todo.extend(each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
    return num


class _PlainLoader(yaml.SafeLoader):
    """JSON's values only, each error with its line."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_PREFIX) in _TAGS
    }
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise _error_at(self.peek_event().start_mark, f"more than {_DEPTH_MAX} levels of nesting")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        is_number = node.tag in (f"{_PREFIX}int", f"{_PREFIX}float")
        if is_number and len(node.value) > _NUMBER_CHARS_MAX:
            raise _error_at(node.start_mark, f"a number of {len(node.value):,} characters; limit {_NUMBER_CHARS_MAX}")
        try:
            value = super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            found = node.value if isinstance(node.value, str) else node.tag
            kind = node.tag.removeprefix(_PREFIX).replace("timestamp", "date")
            raise _error_at(node.start_mark, f"{found[:60]!r} is not a valid {kind}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise _error_at(node.start_mark, f"{node.value} is not a finite number")
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise _error_at(node.start_mark, f"{node.value[:60]} is larger than {sys.float_info.max:.2g}")
        if isinstance(value, str) and not _is_unicode(value):
            raise _error_at(node.start_mark, f"{value[:60]!r} holds half of a surrogate pair, which is no character")
        return value

    def construct_plain_date(self, node: yaml.ScalarNode) -> str:
        """A valid date or time stays the text that it was written as: JSON has no dates."""
        self.construct_yaml_timestamp(node)
        return str(node.value)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            # A bool is an int in Python.
            if not isinstance(key, str) and (isinstance(key, bool) or not isinstance(key, int)):
                raise _error_at(key_node.start_mark, f"YAML reads the key {key_node.value} as {key}; put it in quotes")
        is_mixed = len({type(key) for key in mapping}) > 1
        return {str(key): value for key, value in mapping.items()} if is_mixed else mapping


_PlainLoader.add_constructor(f"{_PREFIX}timestamp", _PlainLoader.construct_plain_date)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def _error_at(mark: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)

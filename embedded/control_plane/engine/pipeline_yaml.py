"""YAML that callers upload, as plain JSON values. Bounded before anything recurses over it. Pure.

PyYAML's C loader composes a tree by recursion in C, without Python's limit: 40,000 brackets overflow the stack and kill
the process. libyaml's events come one after the other, so depth and size are counted on them first.
"""

from typing import Any

import yaml

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.plain_yaml import PLAIN_RESOLVERS
from embedded.control_plane.sound_json import VALUES_MAX, check_sound
from wire.printable import printable
from wire.strict_json import DEPTH_MAX

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# The largest float64, 1.8e308, has 309 digits written out.
_NUMBER_CHARS_MAX = 400
_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_VALUES = (*_STARTS, yaml.ScalarEvent, yaml.AliasEvent)
_C_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_documents(raw: bytes, *, num_max: int) -> list[dict[str, Any]]:
    """The documents of a file, each an object. DataRejected for what is no YAML, too deep, too large, or not JSON's."""
    try:
        _check_events(raw)
        documents = [document for document in yaml.load_all(raw, Loader=_PlainLoader) if document]
    except yaml.YAMLError as error:
        raise DataRejected(f"The file is not YAML: {error}. Upload the output of kfp's compiler.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        found = printable(f"{type(error).__name__}: {error}")
        raise DataRejected(f"The file has a value that YAML does not have ({found}). Correct it.") from None
    if not documents or len(documents) > num_max or not all(isinstance(document, dict) for document in documents):
        raise DataRejected(
            f"The file holds {len(documents)} YAML documents; expected a compiled pipeline, "
            "optionally followed by its platform configuration."
        )
    check_sound(documents, where="The file")
    return documents


def _check_events(raw: bytes) -> None:
    depth = num_values = 0
    for event in yaml.parse(raw, Loader=_C_LOADER):
        if isinstance(event, _ENDS):
            depth -= 1
            continue
        depth += isinstance(event, _STARTS)
        num_values += isinstance(event, _VALUES)
        if depth > DEPTH_MAX:
            raise DataRejected(f"The file is nested deeper than {DEPTH_MAX} levels. Upload a compiled pipeline.")
        if num_values > VALUES_MAX:
            raise DataRejected(f"The file has more than {VALUES_MAX:,} values. Split the pipeline.")


class _PlainLoader(_C_LOADER):
    """Dates stay text, and merged keys (`<<`), which can grow without an end, are counted."""

    _num_merged = 0

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Sexagesimal numbers ("1:30:00") of many digits take Python minutes."""
        if node.tag in _NUMBERS and len(str(node.value)) > _NUMBER_CHARS_MAX:
            raise DataRejected(f"The file has a number of {len(str(node.value)):,} characters. Put it in quotes.")
        return super().construct_object(node, deep=deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        num_before = len(node.value)
        super().flatten_mapping(node)
        self._num_merged += max(0, len(node.value) - num_before)
        if self._num_merged > VALUES_MAX:
            raise DataRejected(f"The file merges more than {VALUES_MAX:,} keys by `<<`. Write them out.")


_PlainLoader.yaml_implicit_resolvers = PLAIN_RESOLVERS

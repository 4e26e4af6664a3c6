"""The two patches that the Kubernetes API knows for custom resources. Pure: the object given is never changed."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any


class PatchError(ValueError):
    """The patch is malformed, or does not fit the object."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: objects merge key by key, null removes a key, anything else replaces."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902: operations in order; PatchError at the first that does not apply."""
    if not isinstance(operations, Sequence) or isinstance(operations, str):
        raise PatchError("a JSON patch is a list of operations")
    document = copy.deepcopy(target)
    for index, operation in enumerate(operations):
        try:
            document = _apply(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise PatchError(f"operation {index} ({operation!r:.120}) does not apply: {error}") from None
    return document


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _tokens(operation["path"])
    match operation["op"]:
        case "add":
            return _put(document, path, copy.deepcopy(operation["value"]), is_new=True)
        case "replace":
            _get(document, path)
            return _put(document, path, copy.deepcopy(operation["value"]), is_new=False)
        case "remove":
            return _remove(document, path)
        case "copy":
            return _put(document, path, copy.deepcopy(_get(document, _tokens(operation["from"]))), is_new=True)
        case "move":
            source = _tokens(operation["from"])
            value = _get(document, source)
            return _put(_remove(document, source), path, value, is_new=True)
        case "test":
            if _get(document, path) != operation["value"]:
                raise ValueError("the test failed")
            return document
    raise ValueError(f"unknown op {operation['op']!r}")


def _tokens(pointer: Any) -> list[str]:
    """RFC 6901."""
    if pointer == "":
        return []
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise ValueError(f"path {pointer!r} does not start with /")
    # ~1 first: the other way round "~01", which means "~1", would become "/".
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _get(document: Any, path: Sequence[str]) -> Any:
    for token in path:
        document = document[_index(document, token)]
    return document


def _put(document: Any, path: Sequence[str], value: Any, *, is_new: bool) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list) and is_new:
        index = len(parent) if path[-1] == "-" else int(path[-1])
        if not 0 <= index <= len(parent):
            raise IndexError(f"no index {index}")
        parent.insert(index, value)
    elif isinstance(parent, list | dict):
        parent[_index(parent, path[-1])] = value
    else:
        raise ValueError(f"{type(parent).__name__} has no members")
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    if not path:
        raise ValueError("the whole object cannot be removed")
    parent = _get(document, path[:-1])
    del parent[_index(parent, path[-1])]
    return document


def _index(container: Any, token: str) -> Any:
    """Lists take plain indices only: Python's negative ones would reach what the patch does not name."""
    if not isinstance(container, list):
        return token
    if not token.isdecimal():
        raise ValueError(f"{token!r} is no index")
    return int(token)

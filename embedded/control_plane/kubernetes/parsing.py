"""Bodies as text: JSON, or plain YAML. Pure. Repeated fields are told, because Kubernetes warns of them."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kubernetes.errors import bad_request
from embedded.control_plane.kubernetes.structure import quoted
from embedded.control_plane.plain_yaml import PLAIN_RESOLVERS
from embedded.control_plane.sound_json import check_sound

_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What PyYAML raises for values that their tags do not have."""


def parse_body(body: bytes, *, is_yaml: bool) -> tuple[Any, list[str]]:
    """What JSON or plain YAML says, and which fields are there twice, `duplicate field "spec.x"`: the last counts."""
    repeated: list[tuple[dict[str, Any], str]] = []

    def gather(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                repeated.append((found, key))
            found[key] = value
        return found

    try:
        parsed = json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=gather)
    except (ValueError, RecursionError) as error:
        if not is_yaml:
            raise bad_request(f"the body is not JSON: {error}") from None
        return _parse_yaml(body)
    _check(parsed)
    if not repeated:
        return parsed, []
    # By identity: equal objects may stand in several places, and one that a repeated field lost has no place.
    paths = {id(found): path for found, path in _objects_of(parsed, "")}
    twice = {f"{paths[id(found)]}.{key}".lstrip(".") for found, key in repeated if id(found) in paths}
    return parsed, [f"duplicate field {quoted(path)}" for path in sorted(twice)]


def _objects_of(value: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(value, dict):
        yield value, path
        for key, inner in value.items():
            yield from _objects_of(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _objects_of(inner, f"{path}[{index}]")


def _parse_yaml(body: bytes) -> tuple[Any, list[str]]:
    repeated: list[str] = []

    class Loader(_PlainLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key, _ in node.value:
                if key.value in seen:
                    repeated.append(f"line {key.start_mark.line + 1}: key {quoted(key.value)} already set in map")
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    try:
        parsed = yaml.load(body, Loader=Loader)  # noqa: S506 - a SafeLoader that knows even less
        parsed = _with_text_keys(parsed)
    except (yaml.YAMLError, *_UNREADABLE) as error:
        raise bad_request(f"the body is neither JSON nor plain YAML: {error}") from None
    _check(parsed)
    return parsed, repeated


def _check(parsed: Any) -> None:
    try:
        check_sound(parsed, where="the body")
    except DataRejected as error:
        raise bad_request(str(error)) from None


def _with_text_keys(value: Any) -> Any:
    """`1: x` and `true: x` have the keys "1" and "true", as in JSON."""
    if isinstance(value, list):
        return [_with_text_keys(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key if isinstance(key, str) else json.dumps(key): _with_text_keys(inner) for key, inner in value.items()}


class _PlainLoader(yaml.SafeLoader):
    """JSON's types only, and no aliases: they can blow a line up to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        return super().compose_node(parent, index)


_PlainLoader.yaml_implicit_resolvers = PLAIN_RESOLVERS


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

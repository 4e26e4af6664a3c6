"""From the bytes of a body to an object of its kind, as an API server reads them: unknown and repeated fields are
dropped in silence, dropped with a warning, or refused (`fieldValidation` Ignore, Warn, Strict).

Sources in kubernetes/kubernetes: staging/src/k8s.io/apiserver/pkg/endpoints/handlers/{create,update,patch,rest}.go,
staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go (`schemaCoercingDecoder`).
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import Request

from embedded.control_plane.kubernetes.errors import ApiError, FieldError, bad_request, invalid, options_refused
from embedded.control_plane.kubernetes.kinds import ObjectKind
from embedded.control_plane.kubernetes.parsing import parse_body
from embedded.control_plane.kubernetes.schema import METADATA, schema_of
from embedded.control_plane.kubernetes.structure import prune, quoted, type_of

_DIRECTIVES = ("Ignore", "Strict", "Warn")
_GO_TYPES = {"boolean": "bool", "integer": "number"}
_GO_FIELDS = {"object": "map[string]string", "array": "[]string", "integer": "int64"}


class Intake:
    """Reads the bodies of one request, and keeps the warnings that its answer will carry."""

    def __init__(self, kind: ObjectKind, validation: str) -> None:
        self.kind = kind
        self.warnings: list[str] = []
        self._validation = validation
        self._schema = schema_of(kind)

    @classmethod
    def of(cls, request: Request, kind: ObjectKind) -> "Intake":
        validation = request.query_params.get("fieldValidation") or "Warn"
        if validation not in _DIRECTIVES:
            known = ", ".join(map(quoted, ("", *_DIRECTIVES)))
            text = f"Unsupported value: {quoted(validation)}: supported values: {known}"
            raise options_refused("fieldValidation", text)
        return cls(kind, validation)

    def read(self, body: bytes, *, is_yaml: bool = False) -> dict[str, Any]:
        """The object that a create or an update sends: pruned, of this kind, its metadata well typed; else 400."""
        return self.accept(*parse_body(body, is_yaml=is_yaml))

    def accept(self, parsed: Any, repeated: Iterable[str] = ()) -> dict[str, Any]:
        """The same of an object that is parsed, with what was told about it."""
        found, unknown = self.prune(parsed)
        if problems := [*repeated, *map(_unknown_field, unknown)]:
            self._judge(problems, lambda text: bad_request(f"{self._cannot_be_handled}: {text}"))
        return found

    def read_patched(self, patched: Any) -> dict[str, Any]:
        """The object that a patch leads to; a refusal shows the whole of it, as the server does."""
        found, unknown = self.prune(patched)
        if unknown:
            shown = json.dumps(patched, separators=(",", ":"))
            start, problems = f"Invalid value: {quoted(shown)}: ", map(_unknown_field, unknown)
            self._judge(problems, lambda text: invalid(None, "", [FieldError("patch", start + text)]))
        return found

    def read_applied(self, body: bytes) -> dict[str, Any]:
        """An applied configuration: nothing in it may be unknown, whatever the directive says."""
        parsed, repeated = parse_body(body, is_yaml=True)
        found, unknown = self.prune(parsed)
        if unknown:
            metadata = found["metadata"]
            named = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {self.kind.api_version}"
            text = f".{unknown[0]}: field not declared in schema"
            raise bad_request(f"failed to create typed patch object ({named}, Kind={self.kind.kind}): {text}")
        if repeated:
            self._judge(repeated, lambda text: bad_request(f"error strict decoding YAML: {text}"))
        return found

    def prune(self, parsed: Any) -> tuple[dict[str, Any], list[str]]:
        """The object as its schema knows it, and the paths of what was dropped, sorted."""
        found = self._check_kind(parsed)
        metadata = found["metadata"]
        _check_metadata(metadata, self._cannot_be_handled)
        status = {key: found[key] for key in ("status",) if key in found and isinstance(found[key], Mapping)}
        kept, unknown = prune({key: value for key, value in found.items() if key not in status}, self._schema)
        kept_metadata, unknown_metadata = prune(metadata, METADATA, "metadata")
        return {**kept, "metadata": kept_metadata}, sorted([*unknown, *unknown_metadata])

    def _check_kind(self, parsed: Any) -> dict[str, Any]:
        expected = self.kind.api_version
        if not isinstance(parsed, dict):
            raise bad_request(f"{self._cannot_be_handled}: json: cannot unmarshal {_go_type(parsed)} into Go value")
        if not self.kind.group:  # kinds of the core group may leave out what the path says
            parsed = {"apiVersion": expected, "kind": self.kind.kind, **parsed}
        if not isinstance(parsed.get("kind"), str) or not parsed["kind"]:
            raise bad_request(f"Object 'Kind' is missing in {json.dumps(parsed)[:200]!r}")
        version = parsed.get("apiVersion") or ""
        if version != expected:
            text = f"the API version in the data ({version}) does not match the expected API version ({expected})"
            raise bad_request(text)
        if parsed["kind"] != self.kind.kind:
            raise bad_request(
                f"the kind in the data ({parsed['kind']}) does not match the expected kind ({self.kind.kind})"
            )
        metadata = parsed.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise bad_request(f"{self._cannot_be_handled}: {_unmarshal('metadata', metadata, 'v1.ObjectMeta')}")
        return {**parsed, "metadata": metadata or {}}

    @property
    def _cannot_be_handled(self) -> str:
        return f"{self.kind.kind} in version {quoted(self.kind.version)} cannot be handled as a {self.kind.kind}"

    def _judge(self, problems: Iterable[str], refusal: Callable[[str], ApiError]) -> None:
        if self._validation == "Strict":
            raise refusal(f"strict decoding error: {', '.join(problems)}")
        if self._validation == "Warn":
            self.warnings += problems


def _unknown_field(path: str) -> str:
    return f"unknown field {quoted(path)}"


def _check_metadata(metadata: Mapping[str, Any], cannot_be_handled: str) -> None:
    """Metadata is of a Go type, not of the definition's schema: a value of the wrong type cannot be read at all."""
    for field, schema in METADATA["properties"].items():
        value = metadata.get(field)
        if value is None:
            continue
        if type_of(value) != schema["type"]:
            raise bad_request(f"{cannot_be_handled}: {_unmarshal(field, value, schema['type'])}")
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        wanted = (schema.get("additionalProperties") or schema.get("items") or {}).get("type")
        for each in inner:
            if wanted and each is not None and type_of(each) != wanted:
                raise bad_request(f"{cannot_be_handled}: {_unmarshal(field, each, wanted)}")


def _unmarshal(field: str, value: Any, wanted: str) -> str:
    wanted = _GO_FIELDS.get(wanted, wanted)
    return f"json: cannot unmarshal {_go_type(value)} into Go struct field ObjectMeta.{field} of type {wanted}"


def _go_type(value: Any) -> str:
    found = type_of(value)
    return _GO_TYPES.get(found, found)

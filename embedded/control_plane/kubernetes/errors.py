"""Errors as the Kubernetes API tells them: a `Status` object, from which the clients take reason and message."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wire.printable import printable_lines

GROUP = "serving.kserve.io"
VERSION = "v1beta1"
KIND = "InferenceService"
PLURAL = "inferenceservices"


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def as_status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": printable_lines(self.message),
            "reason": self.reason,
            "code": self.code,
        }
        return {**status, "details": self.details} if self.details else status


class FieldError(ValueError):
    """One field of an object that is wrong, or that this machine cannot honour."""

    def __init__(self, field: str, message: str, *, reason: str = "FieldValueInvalid") -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.reason = reason


class Named(Protocol):
    """What errors call a kind."""

    @property
    def kind(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def plural(self) -> str: ...


def invalid(kind: Named | None, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422: which fields are wrong, and why. Without a kind, the patch itself is.

    Source: `NewInvalid` in k8s.io/apimachinery pkg/api/errors/errors.go.
    """
    causes = [{"reason": error.reason, "message": error.message, "field": error.field} for error in errors]
    texts = list(dict.fromkeys(map(str, errors)))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = _joined(kind.kind, kind.group) if kind else ""
    details = {"name": name, "group": kind.group, "kind": kind.kind} if kind else {}
    return ApiError(
        422, "Invalid", f"{qualified} {json.dumps(name)} is invalid: {text}", details={**details, "causes": causes}
    )


def options_refused(field: str, message: str) -> ApiError:
    """422: an option in the query has a value that there is not."""
    options = f'CreateOptions.meta.k8s.io "" is invalid: {field}: {message}'
    causes = [{"reason": "FieldValueNotSupported", "message": message, "field": field}]
    details = {"group": "meta.k8s.io", "kind": "CreateOptions", "causes": causes}
    return ApiError(422, "Invalid", options, details=details)


def not_found(kind: Named, name: str) -> ApiError:
    return ApiError(404, "NotFound", f"{_quoted(kind, name)} not found", details=_details(kind, name))


def already_exists(kind: Named, name: str, *, is_ending: bool = False) -> ApiError:
    text = f"{'object is being deleted: ' if is_ending else ''}{_quoted(kind, name)} already exists"
    return ApiError(409, "AlreadyExists", text, details=_details(kind, name))


def conflict(kind: Named, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f"Operation cannot be fulfilled on {_quoted(kind, name)}: {why}"
    return ApiError(409, "Conflict", message, details=_details(kind, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def _quoted(kind: Named, name: str) -> str:
    return f"{_joined(kind.plural, kind.group)} {json.dumps(name)}"


def _joined(name: str, group: str) -> str:
    return f"{name}.{group}" if group else name


def _details(kind: Named, name: str) -> dict[str, Any]:
    return {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural}

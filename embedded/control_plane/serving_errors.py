"""Errors as the Kubernetes API tells them: a `Status` object, from which the clients take reason and message."""

from collections.abc import Mapping, Sequence
from typing import Any

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
            "message": self.message,
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


def invalid(name: str, errors: Sequence[FieldError]) -> ApiError:
    """422: which fields are wrong, and why."""
    causes = [{"reason": error.reason, "message": error.message, "field": error.field} for error in errors]
    text = "; ".join(str(error) for error in errors)
    message = f'{KIND}.{GROUP} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, details=_details(name, causes=causes))


def not_found(name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{PLURAL}.{GROUP} "{name}" not found', details=_details(name))


def kind_not_found(plural: str, name: str) -> ApiError:
    """Of the core kinds, whose group has no name."""
    return ApiError(404, "NotFound", f'{plural} "{name}" not found', details={"name": name, "kind": plural})


def already_exists(name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{PLURAL}.{GROUP} "{name}" already exists', details=_details(name))


def conflict(name: str) -> ApiError:
    message = (
        f'Operation cannot be fulfilled on {PLURAL}.{GROUP} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, details=_details(name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def _details(name: str, *, causes: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name, "group": GROUP, "kind": PLURAL}
    return {**details, "causes": list(causes)} if causes else details

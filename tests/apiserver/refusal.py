"""What an API server says when it refuses: a Status object, and the HTTP status that goes with it."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):  # noqa: N818 - an answer to the client, not an error of the server
    """A Status with `status: Failure`."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        continue_token: str = "",
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.continue_token = continue_token
        self.retry_after_s = retry_after_s

    def status(self) -> dict[str, Any]:
        """The body of the answer, and the object of an ERROR event."""
        metadata = {"continue": self.continue_token} if self.continue_token else {}
        details = dict(self.details or {})
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **({"details": details} if details else {}),
            "code": self.code,
        }


def _about(resource: str, name: str) -> dict[str, str]:
    """The details of a Status."""
    kind, _, group = resource.partition(".")
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def not_found(resource: str, name: str) -> Refusal:
    """No such object."""
    return Refusal(404, "NotFound", f'{resource} "{name}" not found', details=_about(resource, name))


def already_exists(resource: str, name: str) -> Refusal:
    """An object of that name is there."""
    message = f'{resource} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, details=_about(resource, name))


def conflict(resource: str, name: str, why: str) -> Refusal:
    """The object is not as the writer believed."""
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return Refusal(409, "Conflict", message, details=_about(resource, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def bad_request(message: str) -> Refusal:
    """What was asked makes no sense."""
    return Refusal(400, "BadRequest", message)


def invalid(kind: str, name: str, why: str) -> Refusal:
    """The object breaks a rule of its kind."""
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {why}', details=_about(kind, name))


def expired(message: str, *, continue_token: str = "") -> Refusal:
    """The version asked for is forgotten."""
    return Refusal(410, "Expired", message, continue_token=continue_token)


def forbidden(verb: str, resource: str, namespace: str) -> Refusal:
    """The client lacks a role."""
    where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    plural, _, group = resource.partition(".")
    message = f'{resource} is forbidden: User "tester" cannot {verb} resource "{plural}" in API group "{group}"{where}'
    return Refusal(403, "Forbidden", message, details={"kind": plural, "group": group})


def not_allowed() -> Refusal:
    """The path is there, the method is not."""
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", message)


def no_such_path() -> Refusal:
    """What built-in groups say of paths that they do not have; others say it in plain text."""
    return Refusal(404, "NotFound", "the server could not find the requested resource")


def too_large(revision: str, current: int) -> Refusal:
    """The version asked for is yet to come."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    return Refusal(504, "Timeout", message, details=details, retry_after_s=1)


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def failure(code: int, *, reason: str = "", message: str = "", retry_after_s: int | None = None) -> Refusal:
    """Any refusal, in the words that are usual for its code."""
    reason = reason or _REASONS.get(code, "")
    return Refusal(code, reason, message or reason or f"status {code}", retry_after_s=retry_after_s)

"""TokenReview and SubjectAccessReview: who a token belongs to, and what that user may do, as a test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from tests.apiserver.asked import Asked


@dataclass
class Reviews:
    """`tokens` maps a token to its user; `allowed` holds (user, verb, path or resource)."""

    tokens: dict[str, str] = field(default_factory=dict)
    allowed: set[tuple[str, str, str]] = field(default_factory=set)

    def answer(self, asked: Asked) -> dict[str, Any] | None:
        """The review with its status; None if this is no request for one."""
        match asked.resource:
            case "tokenreviews.authentication.k8s.io":
                review = msgspec.json.decode(asked.body)
                return review | {"status": self._who(review["spec"])}
            case "subjectaccessreviews.authorization.k8s.io":
                review = msgspec.json.decode(asked.body)
                return review | {"status": self._whether(review["spec"])}
            case _:
                return None

    def _who(self, spec: dict[str, Any]) -> dict[str, Any]:
        user = self.tokens.get(spec.get("token", ""))
        if user is None:
            return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        return {"authenticated": True, "user": {"username": user, "groups": ["system:authenticated"]}}

    def _whether(self, spec: dict[str, Any]) -> dict[str, Any]:
        what = spec.get("nonResourceAttributes") or spec.get("resourceAttributes") or {}
        on = what.get("path") or what.get("resource", "")
        return {"allowed": (spec.get("user", ""), what.get("verb", ""), on) in self.allowed}

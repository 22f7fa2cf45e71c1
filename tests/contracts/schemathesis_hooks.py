"""What schemathesis is told beyond its configuration: whose key goes first, and what a refused field must look like."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response

_METHODS = frozenset({"get", "post", "put", "patch", "delete"})


@schemathesis.hook
def before_load_schema(_context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Ask as the operator wherever the operator may: it reaches all programs, and no test can revoke its token."""
    for item in raw_schema["paths"].values():
        for method, operation in item.items():
            if method in _METHODS:
                operation["security"].sort(key=lambda requirement: "operator" not in requirement)


@schemathesis.check
def refused_fields_are_named(_context: CheckContext, response: Response, _case: Case[Any]) -> None:
    """Fail for a 422 that does not say which field it is about, and what is wrong with it."""
    if response.status_code == 422:
        errors = response.json().get("errors")
        assert errors, "A 422 must name the fields that it refuses."
        assert all(texts and all(texts) for texts in errors.values()), "A refused field needs a text."

"""What schemathesis is told beyond its configuration: whose key goes first, and what a refused field must look like."""

import os
import uuid
from typing import Any

import schemathesis
from schemathesis import AuthContext, Case, CheckContext, HookContext, Response

from shared.account_tokens import Acting, Signer
from shared.accounts import Role
from shared.clock import utc_now

# Whose key it was, that what was named is gone, that it has changed, or that there were too many requests.
_PASSING = frozenset({401, 403, 404, 412, 429})
# Each of them is held against the document by its code.
_TOLD = frozenset({409, 413, 422})
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})
# Where it is set, accounts ask instead of keys: the dashboard's private key.
_SIGNER = Signer.parse(os.environ["DASHBOARD_SIGNING_KEY"]) if "DASHBOARD_SIGNING_KEY" in os.environ else None
# Whose account asks, by whose key would.
_ROLES: dict[str, Role] = {"operator": "operator", "bearer": "merchant", "partnerKey": "partner"}
_ROLE = "x-role"


@schemathesis.hook
def before_load_schema(_context: HookContext, raw_schema: dict[str, Any]) -> None:
    """Ask as the operator wherever the operator may: it reaches all programs, and no test can revoke its token."""
    for item in raw_schema["paths"].values():
        for method, operation in item.items():
            if method in _METHODS:
                operation["security"].sort(key=lambda requirement: "operator" not in requirement)
                if _SIGNER is not None and operation["security"]:
                    assert {"account": []} in operation["security"], "An operation is closed to accounts."
                    operation[_ROLE] = next(
                        role for name, role in _ROLES.items() if {name: []} in operation["security"]
                    )
                    operation["security"] = [{"account": []}]


class Accounts:
    """Signs in again for each request, as a dashboard does: a token lives for a minute."""

    def get(self, case: Case[Any], _context: AuthContext) -> str | None:
        """Return the token of an account that may use the operation, if that takes any."""
        role: Role | None = case.operation.definition.raw.get(_ROLE)
        if role is None or _SIGNER is None:
            return None
        program_id, partner_id = (uuid.UUID(os.environ[name]) for name in ("PROGRAM_ID", "PARTNER_ID"))
        acting = Acting(
            account_id=uuid.UUID(int=1, version=4),
            role=role,
            grade="change",
            request_id=uuid.uuid4().hex,
            program_id=None if role == "operator" else program_id,
            partner_id=partner_id if role == "partner" else None,
        )
        return _SIGNER.sign(acting, os.environ["SERVICE"], utc_now(), uuid.uuid4())

    def set(self, case: Case[Any], token: str, _context: AuthContext) -> None:
        """Put it into the request."""
        case.headers["Authorization"] = f"Bearer {token}"


if _SIGNER is not None:
    schemathesis.auth(refresh_interval=None)(Accounts)


@schemathesis.check
def refused_fields_are_named(_context: CheckContext, response: Response, _case: Case[Any]) -> None:
    """Fail for a 422 that does not say which field it is about, and what is wrong with it."""
    if response.status_code == 422:
        errors = response.json().get("errors")
        assert errors, "A 422 must name the fields that it refuses."
        assert all(texts and all(texts) for texts in errors.values()), "A refused field needs a text."


@schemathesis.check
def refusals_are_documented(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Fail for a 409, 413 or 422 whose stable code the document does not name for that status of the operation."""
    if response.status_code in (409, 413, 422):
        refusal = response.json()
        code = refusal.get("error_code") or refusal["code"]
        documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
        assert f"`{code}`" in documented.get("description", ""), f"{response.status_code} {code} is not documented."


@schemathesis.check
def valid_requests_are_accepted(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    """Fail for a request that the document allows and that is refused for a reason that it does not tell of.

    What no JSON Schema has words for (a cursor that no list gave out, a time zone that does not exist, bytes of a body)
    may be refused, as the document says with its code, and a 422 by a field that the operation has.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    status = response.status_code
    assert status < 300 or status in _PASSING or status in _TOLD, f"A valid request was refused with {status}."
    if status == 422:
        refused = {name.partition(".")[0] for name in response.json()["errors"]}
        unknown = refused - _fields(case.operation.definition.raw, case.operation.schema.raw_schema)
        assert not unknown, f"A 422 is about {unknown}, which the operation does not have."


def _fields(operation: Any, document: Any) -> set[str]:
    fields = {parameter["name"] for parameter in operation.get("parameters", ())} | {"body"}
    for media in operation.get("requestBody", {}).get("content", {}).values():
        schema = media["schema"]
        if (reference := schema.get("$ref")) is not None:
            schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        fields |= schema.get("properties", {}).keys()
    return fields

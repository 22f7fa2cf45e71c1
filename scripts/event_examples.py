"""Generates an example of every published event from its schema: the same name has the same value everywhere."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from shared.events.envelope import EventData

_TIME: Final = "2026-03-16T20:15:00.250125Z"
_VALUES: Final[Mapping[str, Any]] = {
    "amount_minor": 1000,
    "amounts_by_currency": {"EUR": 900},
    "applied_minor": 1250,
    "attempts": 10,
    "attribute_names": ["card_id", "recipient_name", "occasion"],
    "attributes": {"card_id": "a1b2c3d4", "recipient_name": "Sarah", "occasion": "mother"},
    "changed": ["is_active"],
    "code": "ACME-1A0A48C0",
    "code_id": "0195a0c2-7b1e-7c4d-9f2a-3d5e6f708192",
    "code_ids": ["0195a0c2-7b1e-7c4d-9f2a-3d5e6f708192"],
    "codes": ["ACME-1A0A48C0"],
    "codes_remaining": 49823,
    "count": 1000,
    "coupon_id": "0195a0c2-6a0d-7b3c-8e19-2c4d5e6f7081",
    "coupon_name": "Spring",
    "coupon_uuid_code": "spring-25",
    "currency": "USD",
    "customer_id": "customer-7",
    "delivery_id": "0195a0c4-9d30-7e5f-a13b-4e6f708192a3",
    "detail": "The code has reached its limit of uses (1).",
    "discount_type": "percent",
    "duration_type": "once",
    "duration_value": None,
    "excluded_product_ids": ["gift-card"],
    "blocked_by": "SPRING-10",
    "email": "sarah@example.com",
    "endpoint_id": "0195a0c1-4c2b-7a1f-8d07-1b3c4d5e6f70",
    "event_type": "code.redeemed",
    "external_id": "crm-118",
    "id": "customer-7",
    "is_active": True,
    "items": [{"product_id": "card-premium", "quantity": 1, "amount": 5000}],
    "last_status": 500,
    "message_id": "msg_0195a0c39c2f7d4e9a2a3d5e6f708192",
    "metadata": {"campaign": "spring"},
    "name": "Spring",
    "order_ref": "order-1001",
    "partner_id": "0195a0c0-3b1a-790e-8c05-0a2b3c4d5e6f",
    "percent_hundredths": 2500,
    "product_ids": ["card-premium"],
    "program_id": "0195a0bf-2a09-780d-8b04-091a2b3c4d5e",
    "reason": "customer asked",
    "redemption_id": "0195a0c3-8c2f-7d4e-9a2a-3d5e6f708192",
    "redemption_limit": 1,
    "reservation_id": "0195a0c3-1b1e-7c4d-9f2a-3d5e6f708192",
    "subtotal": 5000,
    "threshold": 50000,
    "uuid_code": "spring-25",
}
_BY_FORMAT: Final = {"uuid": "0195a0c5-ae41-7f60-b24c-5f708192a3b4", "date-time": _TIME}
_BY_TYPE: Final[Mapping[str, Any]] = {"string": "text", "integer": 1, "number": 1, "boolean": False, "null": None}


def envelope_example(model: type[EventData], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete event of this type in live mode; `schema` is that of its data."""
    data = _example("", schema, schema.get("$defs", {}))
    data.pop("is_test", None)
    return {
        "specversion": "1.0",
        "id": "0195a0c3-8c2f-7d4e-9a2a-3d5e6f708193",
        "source": "https://shop.example/checkout" if model.source == "checkout" else model.source,
        "type": model.type,
        "time": _TIME,
        "datacontenttype": "application/json",
        "dataschema": model.schema_urn(),
        "data": data,
    }


def _example(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _example(name, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if name in _VALUES:
        # A copy each: YAML would write the second one as a reference to the first.
        return copy.deepcopy(_VALUES[name])
    if (branches := schema.get("anyOf")) is not None:
        return _example(name, next(branch for branch in branches if branch.get("type") != "null"), definitions)
    if "properties" in schema:
        return {member: _example(member, node, definitions) for member, node in schema["properties"].items()}
    if schema.get("type") == "array":
        return [_example("", schema["items"], definitions)]
    if schema.get("type") == "object":
        return {}
    return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE[schema.get("type", "string")])

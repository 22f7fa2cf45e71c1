"""What the tests of test mode share: the form of ids that nobody may ever see."""

import re
import uuid

from shared.modes import in_mode

# The id of a test tenant: its fourth group begins with a digit that no other id of ours has.
TENANT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[c-f][0-9a-f]{3}-[0-9a-f]{12}")


def tenant_in_test_mode(owner_id: uuid.UUID | str) -> uuid.UUID:
    """Return the test tenant of a program or a partner."""
    return in_mode(uuid.UUID(str(owner_id)), test=True)


def leaks(*texts: object) -> list[str]:
    """Return the ids of test tenants that stand in what callers see."""
    return [found for text in texts for found in TENANT_ID.findall(text if isinstance(text, str) else str(text))]


def modes_in(value: object) -> set[bool]:
    """Return what all `is_test` members of an answer say, at any depth."""
    if isinstance(value, dict):
        own = {value["is_test"]} if isinstance(value.get("is_test"), bool) else set()
        return own.union(*(modes_in(each) for each in value.values()))
    return set().union(*(modes_in(each) for each in value)) if isinstance(value, list) else set()

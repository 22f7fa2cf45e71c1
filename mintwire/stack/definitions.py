"""Turns the topology's permissions and policies into the definitions of a private broker."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from mintwire.stack import processes
from mintwire.stack.rabbitmq import hashed_password
from shared.broker.permissions import PERMISSIONS, permission_definitions
from shared.broker.policies import policy_definitions


def broker_definitions(vhosts: Iterable[str], passwords: Mapping[str, str]) -> dict[str, object]:
    """Return vhosts with their policies, and users with the least permissions in each; there is no guest."""
    names = list(vhosts)
    per_vhost = [permission_definitions(name) for name in names]
    return {
        "vhosts": [{"name": name} for name in names],
        "users": [
            {
                "name": user,
                "password_hash": hashed_password(passwords[user]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                # Lets the operator list bindings and set policies, in the vhosts below only.
                "tags": "policymaker" if user == "operator" else "",
            }
            for user in PERMISSIONS
        ],
        "permissions": [entry for each in per_vhost for entry in each["permissions"]],
        "topic_permissions": [entry for each in per_vhost for entry in each["topic_permissions"]],
        "policies": [entry for name in names for entry in policy_definitions(name)],
    }


def stored_passwords(path: Path) -> dict[str, str]:
    """Return a random password per broker user, created on the first run and readable by the owner only."""
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    passwords = {user: kept.get(user) or secrets.token_urlsafe(24) for user in PERMISSIONS}
    if passwords != kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        processes.write_private(path, json.dumps(passwords))
    return passwords

"""The compose file's broker definitions: users with hashed passwords, permissions, vhost, policies.

`python -m mintwire.stack.compose_definitions` takes `<USER>_BROKER_PASSWORD` for every user, or the published
development passwords if none is set. It refuses a mixture, because a forgotten user would keep a public password; with
`--own` it refuses the published ones altogether.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping

from mintwire.stack.rabbitmq import hashed_password
from shared.broker.permissions import PERMISSIONS, permission_definitions
from shared.broker.policies import policy_definitions
from shared.broker.topology import VHOST
from shared.config import DEVELOPMENT_MARK


def development_password(user: str) -> str:
    """Return the password that the repository publishes for a broker user."""
    return f"{user}-{DEVELOPMENT_MARK}"


def compose_definitions(hashes: Mapping[str, str]) -> dict[str, object]:
    """Return the definitions for users with these password hashes; only the operator may manage the broker."""
    return {
        "vhosts": [{"name": VHOST}],
        "users": [
            {
                "name": user,
                "password_hash": hashes[user],
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ["administrator"] if user == "operator" else [],
            }
            for user in PERMISSIONS
        ],
        **permission_definitions(VHOST),
        "policies": policy_definitions(VHOST),
    }


def development_hashes() -> dict[str, str]:
    """Return the hashes of the published passwords, always the same so that the committed file can be compared."""
    return {
        user: hashed_password(development_password(user), hashlib.sha256(user.encode()).digest()[:4])
        for user in PERMISSIONS
    }


def hashes_from(environment: Mapping[str, str], *, are_own: bool = False) -> dict[str, str]:
    """Return the password hashes of all users from the environment, or the published ones if it has none.

    `are_own` refuses the published ones.

    Raises ValueError with the missing variables if only some are set.
    """
    variables = {user: f"{user.upper()}_BROKER_PASSWORD" for user in PERMISSIONS}
    missing = [variable for variable in variables.values() if not environment.get(variable)]
    if len(missing) == len(variables) and not are_own:
        return development_hashes()
    if missing:
        raise ValueError(f"Every user needs a password of its own; these are not set: {', '.join(missing)}.")
    return {user: hashed_password(environment[variable]) for user, variable in variables.items()}


def main() -> None:
    """Print the definitions for the passwords in the environment."""
    try:
        hashes = hashes_from(os.environ, are_own="--own" in sys.argv[1:])
    except ValueError as problem:
        sys.exit(str(problem))
    print(json.dumps(compose_definitions(hashes), indent=2))


if __name__ == "__main__":
    main()

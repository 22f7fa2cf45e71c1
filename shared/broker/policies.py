"""The broker's policies, as data: limits for existing queues, whose arguments cannot be changed.

AMQP cannot set them. Where the broker is ours to configure its definitions have them; elsewhere an operator sets them
through the management API (`mintwire doctor --fix`).
"""

from dataclasses import dataclass
from typing import Any, Final

from shared.broker.permissions import one_of
from shared.broker.topology import QUEUE_UNROUTED, UNROUTED_MAX_LENGTH, VHOST, WORK_QUEUES, dead_queue

DEAD_MAX_LENGTH: Final = 100_000
# Letters can be as large as the broker allows, so a limit on their number alone would not bound the disk.
MAX_BYTES: Final = 1024**3
# Only the policy with the highest priority applies to a queue; handwritten ones usually have 0.
PRIORITY: Final = 10


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit for some queues; messages beyond it are refused, never dropped."""

    name: str
    queues: tuple[str, ...]
    max_length: int
    max_bytes: int = MAX_BYTES

    @property
    def definition(self) -> dict[str, Any]:
        """The policy in the broker's terms."""
        # On a quorum queue this overrides an `x-overflow` argument, which `unrouted` has.
        return {"max-length": self.max_length, "max-length-bytes": self.max_bytes, "overflow": "reject-publish"}

    @property
    def body(self) -> dict[str, Any]:
        """The policy in the form of the management API."""
        return {
            "pattern": one_of(*self.queues),
            "apply-to": "queues",
            "priority": PRIORITY,
            "definition": self.definition,
        }


POLICIES: Final = (
    Policy("mintwire-dead", tuple(dead_queue(name) for name in WORK_QUEUES), DEAD_MAX_LENGTH),
    Policy("mintwire-unrouted", (QUEUE_UNROUTED,), UNROUTED_MAX_LENGTH),
)


def policy_definitions(vhost: str = VHOST) -> list[dict[str, Any]]:
    """The policies in the form of RabbitMQ's definitions file."""
    return [{"vhost": vhost, "name": policy.name, **policy.body} for policy in POLICIES]

"""The broker's users and their permissions, as data: each may do its work and nothing else.

They are granted when the broker is set up: see `permission_definitions`, which also creates the passwords.
"""

from dataclasses import dataclass, field
from typing import Final

from shared.broker.topology import (
    EXCHANGE_CHECKOUT,
    EXCHANGE_CODES,
    EXCHANGE_REDEMPTION,
    EXCHANGE_WEBHOOKS,
    QUEUE_CODES_REDEMPTIONS,
    QUEUE_REDEMPTION_CHECKOUT,
    QUEUE_WEBHOOKS_EVENTS,
    VHOST,
    bindings_of,
    dead_exchange,
    dead_queue,
    replay_exchange,
)


@dataclass(frozen=True, slots=True)
class Topics:
    """The permissions of a broker user on a topic exchange: patterns for the keys that it publishes and binds with."""

    write: str
    read: str


@dataclass(frozen=True, slots=True)
class Permission:
    """The permissions of a broker user: anchored patterns for names, and for routing keys by exchange."""

    configure: str
    write: str
    read: str
    topics: dict[str, Topics] = field(default_factory=dict)


def _service_permission(exchange: str, queue: str) -> Permission:
    # Consumers write their dead letters themselves: they name the reason, and confirm before they acknowledge. Nobody
    # writes to `dead` but the broker, which moves there what it gives up on. Binding takes the right to write to the
    # queue and to read from the exchange; on a topic exchange the keys to bind by are those of the topology.
    queues = (queue, dead_queue(queue))
    sources: dict[str, list[str]] = {}
    for binding in bindings_of(queue):
        sources.setdefault(binding.exchange, []).append(binding.routing_key)
    return Permission(
        configure="^$",
        write=one_of(exchange, dead_exchange(queue), replay_exchange(queue), *queues),
        read=one_of(*queues, *sources),
        topics={
            source: Topics(write=".*" if source == exchange else "^$", read=one_of(*keys))
            for source, keys in sources.items()
            if any(keys)
        },
    )


def one_of(*names: str) -> str:
    """The pattern that matches exactly these names."""
    return f"^({'|'.join(name.replace('.', '[.]') for name in names)})$"


PERMISSIONS: Final[dict[str, Permission]] = {
    "codes": _service_permission(EXCHANGE_CODES, QUEUE_CODES_REDEMPTIONS),
    "redemption": _service_permission(EXCHANGE_REDEMPTION, QUEUE_REDEMPTION_CHECKOUT),
    "webhooks": _service_permission(EXCHANGE_WEBHOOKS, QUEUE_WEBHOOKS_EVENTS),
    "checkout": Permission(
        configure="^$",
        write=f"^{EXCHANGE_CHECKOUT}$",
        read="^$",
        topics={EXCHANGE_CHECKOUT: Topics(write=r"^checkout\.", read="^$")},
    ),
    "operator": Permission(configure=".*", write=".*", read=".*"),
}
"""By user name, in the vhost `mintwire`."""


def permission_definitions(vhost: str = VHOST) -> dict[str, list[dict[str, str]]]:
    """The permissions in the form of RabbitMQ's definitions file: `permissions` and `topic_permissions`."""
    return {
        "permissions": [
            {"user": user, "vhost": vhost, "configure": p.configure, "write": p.write, "read": p.read}
            for user, p in PERMISSIONS.items()
        ],
        "topic_permissions": [
            {"user": user, "vhost": vhost, "exchange": exchange, "write": topics.write, "read": topics.read}
            for user, p in PERMISSIONS.items()
            for exchange, topics in p.topics.items()
        ],
    }

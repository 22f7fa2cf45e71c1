"""What the webhook service is configured with; the prefix of its environment variables is `WEBHOOKS_`."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from shared.config import SecretKeys, ServiceSettings


def split_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses and networks of a setting that holds several, apart by commas; raises ValueError."""
    return tuple(str(ipaddress.ip_network(each.strip())) for each in text.split(",") if each.strip())


def _checked_addresses(text: str) -> str:
    split_addresses(text)
    return text


class WebhooksSettings(ServiceSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOKS_")

    port: int = Field(default=8003, ge=1, le=65535)
    secret_key: SecretKeys
    max_in_flight: int = Field(default=100, ge=1, le=2000)
    # From where webhooks come, for receivers that let nobody else in; it is only told, not made so.
    egress_addresses: Annotated[str, AfterValidator(_checked_addresses)] = ""
    # A delivery is under way for up to four days; what it needs is there for longer.
    payload_retention_days: int = Field(default=30, ge=5, le=3650)
    attempt_retention_days: int = Field(default=30, ge=5, le=3650)
    delivery_retention_days: int = Field(default=90, ge=5, le=3650)

"""What the webhook service is configured with; the prefix of its environment variables is `WEBHOOKS_`."""

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from shared.config import SecretKeys, ServiceSettings

# Its last label has a letter in front, so that no form of an IPv4 address passes for a name.
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def split_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses and networks of a setting that holds several, apart by commas; raises ValueError."""
    return tuple(str(ipaddress.ip_network(each.strip())) for each in text.split(",") if each.strip())


def _checked_addresses(text: str) -> str:
    split_addresses(text)
    return text


def split_hosts(text: str) -> frozenset[str]:
    """Return the hosts of a comma-separated setting as URLs have them, in lower case; raises ValueError."""
    return frozenset(_host(each.strip()) for each in text.split(",") if each.strip())


def _host(text: str) -> str:
    host = text.lower().removeprefix("[").removesuffix("]")
    if not _NAME.fullmatch(host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"{text[:80]!r} is no host: give names or addresses, without scheme and port") from None
    return host


class WebhooksSettings(ServiceSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOKS_")

    port: int = Field(default=8003, ge=1, le=65535)
    secret_key: SecretKeys
    max_in_flight: int = Field(default=100, ge=1, le=2000)
    # From where webhooks come, for receivers that let nobody else in; it is only told, not made so.
    egress_addresses: Annotated[str, AfterValidator(_checked_addresses)] = ""
    # Hosts that webhooks may go to by http although they are private; for a receiver in the same container network.
    development_hosts: str = ""
    # A delivery is under way for up to four days; what it needs is there for longer.
    payload_retention_days: int = Field(default=30, ge=5, le=3650)
    attempt_retention_days: int = Field(default=30, ge=5, le=3650)
    delivery_retention_days: int = Field(default=90, ge=5, le=3650)

    @field_validator("development_hosts")
    @classmethod
    def _check_development_hosts(cls, text: str, info: ValidationInfo) -> str:
        if split_hosts(text) and info.data.get("environment") == "production":
            raise ValueError("must be empty in production: it lets partners reach private hosts")
        return text

"""The settings of the webhook service; the prefix of its environment variables is `WEBHOOKS_`."""

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from shared.config import SecretKeys, ServiceSettings

# The last label starts with a letter, so that no form of an IPv4 address passes for a name.
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


def split_addresses(text: str) -> tuple[str, ...]:
    """Return the addresses and networks in a comma-separated setting; raises ValueError."""
    return tuple(str(ipaddress.ip_network(each.strip())) for each in text.split(",") if each.strip())


def _checked_addresses(text: str) -> str:
    split_addresses(text)
    return text


def split_hosts(text: str) -> frozenset[str]:
    """Return the hosts in a comma-separated setting as they appear in URLs, in lower case; raises ValueError."""
    return frozenset(_host(each.strip()) for each in text.split(",") if each.strip())


def _host(text: str) -> str:
    host = text.lower().removeprefix("[").removesuffix("]")
    if not _NAME.fullmatch(host):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(f"{text[:80]!r} is not a host: give names or addresses, without scheme and port") from None
    return host


class WebhooksSettings(ServiceSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOKS_")

    port: int = Field(default=8003, ge=1, le=65535)
    secret_key: SecretKeys
    max_in_flight: int = Field(default=100, ge=1, le=2000)
    # The addresses that webhooks are sent from, for receivers with an allow list; published, but not enforced.
    egress_addresses: Annotated[str, AfterValidator(_checked_addresses)] = ""
    # Private hosts that webhooks may be sent to by http; for a receiver in the same container network.
    development_hosts: str = ""
    # A delivery takes up to four days; what it needs is kept for longer.
    payload_retention_days: int = Field(default=30, ge=5, le=3650)
    attempt_retention_days: int = Field(default=30, ge=5, le=3650)
    delivery_retention_days: int = Field(default=90, ge=5, le=3650)

    @field_validator("development_hosts")
    @classmethod
    def _check_development_hosts(cls, text: str, info: ValidationInfo) -> str:
        if split_hosts(text) and info.data.get("environment") == "production":
            raise ValueError("must be empty in production: it lets partners reach private hosts")
        return text

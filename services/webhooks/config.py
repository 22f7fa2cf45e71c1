"""What the webhook service is configured with; the prefix of its environment variables is `WEBHOOKS_`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.config import SecretKeys, ServiceSettings


class WebhooksSettings(ServiceSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOKS_")

    port: int = Field(default=8003, ge=1, le=65535)
    secret_key: SecretKeys
    max_in_flight: int = Field(default=100, ge=1, le=2000)
    # A delivery is under way for up to four days; what it needs is there for longer.
    payload_retention_days: int = Field(default=30, ge=5, le=3650)
    attempt_retention_days: int = Field(default=30, ge=5, le=3650)
    delivery_retention_days: int = Field(default=90, ge=5, le=3650)

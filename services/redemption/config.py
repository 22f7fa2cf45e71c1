"""The settings of the redemption service, read from the environment under the prefix REDEMPTION_."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.config import SecretKeys, ServiceSettings


class RedemptionSettings(ServiceSettings):
    """What the redemption service is configured with beyond what all services share."""

    model_config = SettingsConfigDict(env_prefix="REDEMPTION_")

    port: int = Field(default=8002, ge=1, le=65535)
    # What erased customers are known by is made with it. Lose it, and they are customers that nobody has seen before.
    secret_key: SecretKeys
    # The database keeps thirty days, whatever is set here.
    rejection_retention_days: int = Field(default=400, ge=30, le=3650)
    trusted_proxies: int = Field(default=0, ge=0, le=10)

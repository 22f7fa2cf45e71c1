"""The settings of the codes service; its environment variables begin with `CODES_`."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.config import SecretKey, ServiceSettings


class CodesSettings(ServiceSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="CODES_")

    port: int = Field(default=8001, ge=1, le=65535)
    operator_token: SecretStr = Field(min_length=16)
    secret_key: SecretKey
    # The database keeps ninety days, whatever the setting.
    audit_retention_days: int = Field(default=730, ge=90, le=3650)
    redemption_url: str = Field(default="http://127.0.0.1:8002", pattern=r"^https?://[^/?#@\s]+/?$")
    # Where clients reach this service, for links in answers; without it they are relative.
    public_url: str = Field(default="", pattern=r"^(https?://[^/?#@\s]+(/[^?#\s]*)?)?$")

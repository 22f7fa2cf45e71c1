"""The settings of the dashboard; the prefix of its environment variables is `DASHBOARD_`."""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.account_tokens import Signer
from shared.config import DatabaseSettings

# Stated by a key that names no issuer itself.
ISSUER: Final = "mintwire-dashboard"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def read_signer(key: SecretStr) -> Signer:
    """Return the signer of a key: a JWK with its issuer, or another form, whose issuer is ours; raises ValueError."""
    text = key.get_secret_value().strip()
    return Signer.parse(text) if text.startswith("{") else Signer.parse(text, ISSUER)


def _checked_key(value: SecretStr) -> SecretStr:
    read_signer(value)
    return value


def _checked_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("must be a scheme and a host, such as https://dashboard.shop.example")
    return text.rstrip("/")


BaseURL = Annotated[str, AfterValidator(_checked_url)]


class DashboardSettings(DatabaseSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="DASHBOARD_")

    port: int = Field(default=8000, ge=1, le=65535)
    # The private key that states who acts; the services know its public half (`<SERVICE>_ACCOUNT_KEYS`).
    signing_key: Annotated[SecretStr, AfterValidator(_checked_key)]
    # The address that browsers use. Cookies, links in mails and the check of the Host header depend on it.
    public_url: BaseURL = "http://127.0.0.1:8000"
    codes_url: BaseURL = "http://127.0.0.1:8001"
    redemption_url: BaseURL = "http://127.0.0.1:8002"
    webhooks_url: BaseURL = "http://127.0.0.1:8003"
    # The addresses of the services that partners are shown, in examples.
    codes_public_url: BaseURL = "http://127.0.0.1:8001"
    # How many proxies stand in front; the client's address comes from their entries of X-Forwarded-For.
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    smtp_host: str = ""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_user: str = ""
    smtp_password: SecretStr | None = None
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    mail_from: str = ""
    activity_retention_days: int = Field(default=400, ge=90, le=3650)

    @model_validator(mode="after")
    def _is_safe_in_production(self) -> "DashboardSettings":
        if self.environment == "production" and not (self.is_secure and self.trusted_proxies):
            raise ValueError("in production, public_url must be https and trusted_proxies name the proxy that has TLS")
        if self.smtp_host and not self.mail_from:
            raise ValueError("mail_from must be set with smtp_host")
        is_local = self.smtp_host in _LOOPBACK
        if self.environment == "production" and self.smtp_security == "none" and self.smtp_host and not is_local:
            raise ValueError("smtp_security must not be none in production: mails carry links that give access")
        return self

    @property
    def is_secure(self) -> bool:
        """Whether browsers use https."""
        return self.public_url.startswith("https:")

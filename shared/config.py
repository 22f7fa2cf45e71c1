"""The settings that every service has. Each service adds its own members and its own prefix."""

import base64
from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.account_tokens import AccountKeys
from shared.raw_url import with_password

# Secrets that the repository publishes for local use; production refuses each of them.
DEVELOPMENT_MARK = "development-only"
_SECRET_KEY_BYTES: Final = 32
# The password for each URL.
_PASSWORDS: Final = {
    "database_url": "database_password",
    "admin_database_url": "admin_database_password",
    "amqp_url": "broker_password",
    "admin_amqp_url": "admin_broker_password",
}


def decode_secret_key(value: SecretStr) -> bytes:
    """Return the 32 bytes of a key written in either base64 alphabet; raises ValueError."""
    text = value.get_secret_value().replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError("must be base64") from None
    if len(key) != _SECRET_KEY_BYTES:
        raise ValueError(f"must be base64 of {_SECRET_KEY_BYTES} bytes")
    return key


def decode_secret_keys(value: SecretStr) -> list[bytes]:
    """Return the keys of a comma-separated setting; raises ValueError."""
    return [decode_secret_key(SecretStr(text.strip())) for text in value.get_secret_value().split(",")]


def _checked_secret_key(value: SecretStr) -> SecretStr:
    decode_secret_key(value)
    return value


def _checked_secret_keys(value: SecretStr) -> SecretStr:
    decode_secret_keys(value)
    return value


# A key that encrypts secrets at rest; or several: the first one encrypts, all of them decrypt.
SecretKey = Annotated[SecretStr, AfterValidator(_checked_secret_key)]
SecretKeys = Annotated[SecretStr, AfterValidator(_checked_secret_keys)]


def _text_of(value: object) -> str:
    """Return the text of a setting: a public key is no secret, but the published one must not be accepted either."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value if isinstance(value, str) else ""


class DatabaseSettings(BaseSettings):
    """The settings of every service, whether or not it uses the broker; read once at start, and frozen."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    environment: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)
    # Passwords come before the URLs that contain them. They need no escaping here, unlike in a URL.
    database_password: SecretStr | None = None
    admin_database_password: SecretStr | None = None
    database_url: SecretStr
    admin_database_url: SecretStr | None = None
    # Without a token, the operators' API is for accounts only.
    operator_token: SecretStr | None = Field(default=None, min_length=16)
    database_pool_size: int = Field(default=8, ge=2, le=100)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    # The broker's URLs are members of a subclass.
    @field_validator(*_PASSWORDS, check_fields=False)
    @classmethod
    def _put_in_password(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        password = info.data.get(_PASSWORDS[str(info.field_name)])
        if url is None or password is None:
            return url
        return SecretStr(with_password(url.get_secret_value(), password.get_secret_value()))

    def published_defaults(self) -> list[str]:
        """Return the names of the settings whose value the repository publishes."""
        return [name for name in type(self).model_fields if DEVELOPMENT_MARK in _text_of(getattr(self, name))]

    def refuse_published_defaults(self) -> None:
        """Raise ValueError in production if a secret or a key still has a value that the repository publishes."""
        if self.environment == "production" and (names := self.published_defaults()):
            listed = ", ".join(names)
            raise ValueError(f"In production, these settings need their own values: {listed}.")

    def operator_token_text(self) -> str | None:
        """Return the operator's token, if there is one."""
        return self.operator_token.get_secret_value() if self.operator_token else None

    def migration_urls(self) -> dict[str, str]:
        """Return the URLs of the database for `migrate`; raises ValueError without the operator's."""
        return self._texts(database=self.database_url, admin_database=self.admin_database_url)

    def _texts(self, **urls: SecretStr | None) -> dict[str, str]:
        if None in urls.values():
            prefix = self.model_config["env_prefix"]
            variables = {"admin_database": "ADMIN_DATABASE_URL", "admin_broker": "ADMIN_AMQP_URL"}
            needed = " and ".join(f"{prefix}{variable}" for name, variable in variables.items() if name in urls)
            raise ValueError(f"Set {needed} to migrate.")
        return {name: url.get_secret_value() for name, url in urls.items() if url is not None}


class ServiceSettings(DatabaseSettings):
    """The settings of the services with an HTTP API, which publish events and judge who acts."""

    broker_password: SecretStr | None = None
    admin_broker_password: SecretStr | None = None
    amqp_url: SecretStr
    admin_amqp_url: SecretStr | None = None
    # A JWK Set: the issuers of account tokens. Without it, only keys and the operator's token are accepted.
    account_keys: str = ""
    # Events of the history can be published again; their consumers must still recognise them.
    event_retention_days: int = Field(default=35, ge=1, le=3650)
    inbox_retention_days: int = Field(default=36, ge=35, le=3660)

    @field_validator("account_keys")
    @classmethod
    def _can_be_read(cls, text: str) -> str:
        AccountKeys.parse(text)
        return text

    @field_validator("inbox_retention_days")
    @classmethod
    def _outlasts_the_history(cls, days: int, info: ValidationInfo) -> int:
        history = info.data.get("event_retention_days")
        if history is not None and days <= history:
            raise ValueError(f"must be at least one day more than event_retention_days, {history + 1}")
        return days

    @property
    def inbox_kept(self) -> timedelta:
        """How long the service remembers which messages it has processed."""
        return timedelta(days=self.inbox_retention_days)

    def migration_urls(self) -> dict[str, str]:
        """Return the URLs of the database and the broker for `migrate`; raises ValueError without the operator's."""
        return self._texts(
            database=self.database_url,
            admin_database=self.admin_database_url,
            broker=self.amqp_url,
            admin_broker=self.admin_amqp_url,
        )

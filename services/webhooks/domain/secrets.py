"""Which secret keeps an endpoint from being sent to, when some of its secrets cannot be decrypted."""

from collections.abc import Sequence
from typing import Literal

from services.webhooks.domain.signature import Algorithm, Signing, algorithms

SecretKind = Literal["signing_key", "auth"]


def missing_secret(
    signing: Signing, keys: Sequence[tuple[Algorithm, bool]], *, has_readable_auth: bool
) -> SecretKind | None:
    """Return the secret without which nothing can be sent; `keys` are all of the endpoint, the newest first.

    Each key comes with whether it can be decrypted. The newest key of each algorithm decides, because receivers rely on
    it and a rotation replaces it. An older key that cannot be decrypted is left out.
    """
    for algorithm in algorithms(signing):
        if not next((opens for each, opens in keys if each == algorithm), False):
            return "signing_key"
    return None if has_readable_auth else "auth"

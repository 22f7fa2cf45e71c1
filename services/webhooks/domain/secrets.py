"""Which secret of an endpoint keeps it from being sent to, when some of its secrets cannot be opened."""

from collections.abc import Sequence
from typing import Literal

from services.webhooks.domain.signature import Algorithm, Signing, algorithms

SecretKind = Literal["signing_key", "auth"]


def missing_secret(
    signing: Signing, keys: Sequence[tuple[Algorithm, bool]], *, has_readable_auth: bool
) -> SecretKind | None:
    """Return what cannot be sent without; `keys` are all of the endpoint, the newest first, and whether each opens.

    The newest key of each algorithm decides: it is the one that receivers go by, and that a rotation replaces. An older
    one that does not open is left out.
    """
    for algorithm in algorithms(signing):
        if not next((opens for each, opens in keys if each == algorithm), False):
            return "signing_key"
    return None if has_readable_auth else "auth"

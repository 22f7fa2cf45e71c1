"""Which passwords are accepted: long enough, not among the commonest, not the account's own name. No other rules."""

from typing import Final

from services.dashboard.domain.common_passwords import COMMON

SHORTEST: Final = 12
LONGEST: Final = 128
# A shorter name would be found in many a sentence.
_SHORTEST_NAME: Final = 4


def fault_of(password: str, email: str) -> str | None:
    """Return what is wrong with a new password, or None."""
    if len(password) < SHORTEST:
        return f"Use at least {SHORTEST} characters; a few words are fine"
    if len(password) > LONGEST:
        return f"Use at most {LONGEST} characters"
    folded = password.casefold()
    if folded in COMMON or len(set(folded)) == 1:
        return "Use another password; this one is among the first that are tried"
    name = email.partition("@")[0].casefold()
    if len(name) >= _SHORTEST_NAME and name in folded:
        return "Use a password without your e-mail's name in it"
    return None

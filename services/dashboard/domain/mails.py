"""What the dashboard writes to people, in plain text."""

from datetime import datetime

from services.dashboard.domain import times, words
from services.dashboard.domain.accounts import Owner
from shared.accounts import Grade


def invitation(owner: Owner, grade: Grade, by: str, link: str, expires_at: datetime) -> tuple[str, str]:
    """Return subject and text of an invitation."""
    what = f"{owner.title} ({owner.subtitle[0].lower()}{owner.subtitle[1:]})" if owner.program_id else "all programs"
    right = "may change things" if grade == "change" else "may look"
    text = (
        f"{by} invites you to the dashboard of {what}. Your account {right}.\n\n"
        f"Choose your name and a password here:\n{link}\n\n"
        f"The link works once, until {times.exact(expires_at, owner.zone)}.\n"
    )
    return f"Invitation to the dashboard of {owner.title}", text


def reset(link: str, expires_at: datetime) -> tuple[str, str]:
    """Return subject and text of a link to set a new password."""
    text = (
        "Somebody, probably you, asked for a new password for your account.\n\n"
        f"Set it here:\n{link}\n\n"
        f"The link works once, until {times.exact(expires_at, 'UTC')}.\n"
        "If it was not you, do nothing: your password stays.\n"
    )
    return "Set a new password", text


def password_changed() -> tuple[str, str]:
    """Return subject and text of the notice that a password has changed."""
    text = (
        "The password of your account was changed, and all other sign-ins have ended.\n\n"
        "If it was not you, tell the person who runs your program, or its operator, at once.\n"
    )
    return "Your password was changed", text


def new_address(link: str, expires_at: datetime) -> tuple[str, str]:
    """Return subject and text of the link that confirms a new address."""
    text = f"Confirm that this is your new address:\n{link}\n\nThe link works until {times.exact(expires_at, 'UTC')}.\n"
    return "Confirm your new address", text


def address_changed(new: str) -> tuple[str, str]:
    """Return subject and text of the notice to the old address."""
    text = (
        f"You sign in with {new} from now on.\n\n"
        "If it was not you, tell the person who runs your program, or its operator, at once.\n"
    )
    return "Your address was changed", text


def role_in_words(owner: Owner, grade: Grade) -> str:
    """Return what an account is, in words."""
    return f"{words.ROLES[owner.role]}, {words.GRADES[grade].lower()}"

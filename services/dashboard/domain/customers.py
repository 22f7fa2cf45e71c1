"""How customers of others are written: enough to recognise one, too little to write to one."""


def masked(text: str) -> str:
    """Return an e-mail address with only its first character and its domain; other ids stay."""
    name, at, domain = text.rpartition("@")
    return f"{name[:1]}\u2026@{domain}" if at else text

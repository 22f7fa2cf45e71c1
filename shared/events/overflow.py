"""A dead letter that its queue has no room for, as a service's database keeps it."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """Everything that a letter needs to be put back; only the broker's side reads the properties and headers."""

    properties: bytes
    foreign_headers: bytes
    body: bytes

    @property
    def digest(self) -> bytes:
        """What a letter is known by: one that is kept twice, because a process died in between, is one."""
        lengths = f"{len(self.properties)},{len(self.foreign_headers)}:".encode()
        return hashlib.sha256(lengths + self.properties + self.foreign_headers + self.body).digest()

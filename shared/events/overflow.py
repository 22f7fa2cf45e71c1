"""A dead letter that its full queue could not take, as stored in a service's database."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """Everything needed to put a letter back; only the broker package reads the properties and headers."""

    properties: bytes
    foreign_headers: bytes
    body: bytes

    @property
    def digest(self) -> bytes:
        """The identity of a letter: one stored twice, because a process died in between, is the same letter."""
        lengths = f"{len(self.properties)},{len(self.foreign_headers)}:".encode()
        return hashlib.sha256(lengths + self.properties + self.foreign_headers + self.body).digest()

"""What at least two services use; imports no service."""

from typing import Final

VERSION: Final = "0.1.0"
"""The version of Mintwire that runs."""

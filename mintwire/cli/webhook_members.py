"""Members of an endpoint that can be set at its creation and at any time later, as options of both commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from mintwire.cli.client import given
from mintwire.cli.members import Set, assigned
from mintwire.cli.output import Misused
from mintwire.cli.webhook_calls import read_file

_Count = Annotated[int | None, Parameter(validator=Number(gte=1))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EndpointMembers:
    """What an endpoint can be told.

    Parameters
    ----------
    uid
        Your own name for it.
    timeout_seconds
        How long it may take to answer.
    max_in_flight
        How many POSTs may be under way at once.
    rate_limit_per_second
        How many POSTs may begin in a second.
    ordering
        `key`: in order per key; `strict`: one after the other.
    on_exhausted
        Whether a dead letter holds up what is behind it in order.
    client_certificate
        The file, in PEM, of the certificate by which the receiver knows us.
    client_key
        The file of its private key, in PEM and without a password.
    ca_bundle
        The file, in PEM, of the authorities that are trusted to vouch for the receiver, instead of the public ones.
    """

    description: str | None = None
    uid: str | None = None
    timeout_seconds: _Count = None
    max_in_flight: _Count = None
    rate_limit_per_second: _Count = None
    ordering: Annotated[Literal["none", "key", "strict"] | None, Parameter(negative=())] = None
    on_exhausted: Annotated[Literal["skip", "block"] | None, Parameter(negative=())] = None
    client_certificate: str | None = None
    client_key: str | None = None
    ca_bundle: str | None = None
    set_: Set = None

    def body(self) -> dict[str, object]:
        """Return what the API takes of those that were given. Raises Misused."""
        members = given(
            description=self.description,
            uid=self.uid,
            timeout_seconds=self.timeout_seconds,
            max_in_flight=self.max_in_flight,
            rate_limit_per_second=self.rate_limit_per_second,
            ordering=self.ordering,
            on_exhausted=self.on_exhausted,
        )
        return members | self._tls() | assigned(self.set_)

    def _tls(self) -> dict[str, object]:
        if (self.client_certificate is None) != (self.client_key is None):
            raise Misused("--client-certificate and --client-key go together")
        members: dict[str, object] = {} if self.ca_bundle is None else {"ca_bundle": read_file(self.ca_bundle)}
        if self.client_certificate is not None and self.client_key is not None:
            pair = {"certificate": read_file(self.client_certificate), "key": read_file(self.client_key)}
            members["client_certificate"] = pair
        return members

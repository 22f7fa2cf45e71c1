"""The settings of an endpoint, as options of the commands that create and change it."""

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
    """The settings of an endpoint.

    Parameters
    ----------
    uid
        Your own name for the endpoint.
    timeout_seconds
        How long the receiver may take to respond.
    max_in_flight
        Maximum number of concurrent POSTs.
    rate_limit_per_second
        Maximum number of POSTs started per second.
    ordering
        `none`: as they come; `key`: in order per ordering key; `strict`: one at a time.
    on_exhausted
        What a dead letter does to an ordered queue: `skip` it or `block`.
    client_certificate
        The file with the client certificate to present to the receiver, in PEM.
    client_key
        The file with its private key, in PEM, without a passphrase.
    ca_bundle
        The file with the authorities to trust for the receiver instead of the public ones, in PEM.
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
        """Return the given settings as the API takes them. Raises Misused."""
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
            raise Misused("give --client-certificate and --client-key together")
        members: dict[str, object] = {} if self.ca_bundle is None else {"ca_bundle": read_file(self.ca_bundle)}
        if self.client_certificate is not None and self.client_key is not None:
            pair = {"certificate": read_file(self.client_certificate), "key": read_file(self.client_key)}
            members["client_certificate"] = pair
        return members

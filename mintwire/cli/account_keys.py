"""`mintwire account-key`: the key pairs by which dashboards state who acts. Asks no service."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cyclopts import App, Parameter

from mintwire.cli.output import AsJSON, Misused, command
from mintwire.terminal import write_json, write_line
from shared.account_tokens import AccountKeys
from shared.accounts import Role
from shared.signing_keys import private_jwk, public_jwk, thumbprint

app = App(name="account-key")

_PRIVATE: Final = "DASHBOARD_SIGNING_KEY"
_PUBLIC: Final = ("CODES_ACCOUNT_KEYS", "REDEMPTION_ACCOUNT_KEYS", "WEBHOOKS_ACCOUNT_KEYS")


@app.command
@command
async def new(
    *,
    issuer: str,
    role: Annotated[list[Role] | None, Parameter(negative=())] = None,
    key_id: str | None = None,
    beside: str = "",
    as_json: AsJSON = False,
) -> None:
    """Create a key pair and print the settings of the dashboard and of the services; nothing keeps the private key.

    Example: mintwire account-key new --issuer https://dashboard.shop.example --role merchant --role partner

    Parameters
    ----------
    issuer
        The dashboard's address, which stands as `iss` in all of its tokens.
    role
        A role that the key may state; may be given several times. By default `partner` and `merchant`.
    key_id
        The key's `kid`; by default its thumbprint.
    beside
        The services' present value of the setting: the new key is added to it, to change a key without refusals.
    """
    key = Ed25519PrivateKey.generate()
    named = key_id or thumbprint(key)
    public = public_jwk(key, named, issuer, role or ("partner", "merchant"))
    try:
        AccountKeys.parse(beside)
    except ValueError as fault:
        raise Misused(f"--beside {fault}") from None
    keys = json.dumps({"keys": [*(json.loads(beside)["keys"] if beside.strip() else ()), public]})
    try:
        AccountKeys.parse(keys)
    except ValueError as fault:
        raise Misused(f"the services would refuse it: {fault}") from None
    settings = {_PRIVATE: json.dumps(private_jwk(key, named, issuer)), **dict.fromkeys(_PUBLIC, keys)}
    if as_json:
        write_json(settings)
        return
    write_line("# The private key, for the dashboard alone:")
    for name, value in settings.items():
        if name == _PUBLIC[0]:
            write_line("# The public keys, for the services:")
        write_line(f"{name}={shlex.quote(value)}")

"""The compose file's one-shot `demo`: creates the demo program through the HTTP APIs and prints what to try next.

It keeps the keys in STACK_DIR, a volume shared with the demo receiver, and finds them there the next time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mintwire.stack.bootstrap import bootstrap, lead_links_to
from mintwire.stack.errors import StackError
from mintwire.stack.folder import CALLED, SERVICES, SHOP, StackFolder
from mintwire.stack.guide import sign_in_lines


async def make_demo(environment: Mapping[str, str]) -> dict[str, Any]:
    """Create the demo's program, partner, keys and endpoint unless they exist; return what the printed text names.

    Codes' links lead to the demo shop, which finds the program and its own key in a file. `<SERVICE>_URL` is the
    address of a service from here; `<SERVICE>_PUBLIC_URL` is its address for the reader.
    """
    folder = StackFolder(Path(environment["STACK_DIR"]))
    services = {name: environment[f"{name.upper()}_URL"] for name in SERVICES}
    demo = await bootstrap(folder, services, environment["CODES_OPERATOR_TOKEN"], environment["RECEIVER_URL"])
    public = {name: environment[f"{name.upper()}_PUBLIC_URL"] for name in (*SERVICES, SHOP)}
    await lead_links_to(public[SHOP], services, demo)
    folder.write("shop.json", {"program_id": demo["program"]["id"], "api_key": demo["shop"]["api_key"]})
    # For the command, which runs in the same network.
    folder.write(folder.stack_file.name, {"services": services, **demo})
    return {"services": public, **demo}


def what_to_try(stack: Mapping[str, Any]) -> str:
    """Return the lines that guide a reader through the main flow."""
    services, program, partner = stack["services"], stack["program"], stack["partner"]
    sign_ins = sign_in_lines(stack)
    return f"""
Mintwire is up.

  program {program["id"]}, key {program["api_key"]}
  partner {partner["id"]}, key {partner["api_key"]}

1. A partner mints a code:
   curl -X POST {services["codes"]}/api/partners/codes/generate -H "X-Partner-Key: {partner["api_key"]}"

2. Open the `url` of the answer in a browser: the demo shop has the code applied, and one press buys. It completes the
   order by an event on RabbitMQ; without a browser (insert the code):
   docker compose run --rm mintwire checkout complete CODE --attribute recipient_name=Sarah

3. The partner's receiver gets the signed webhook and verifies it:
   docker compose logs receiver

Dashboard: {services["dashboard"]}
{sign_ins}

More: docker compose run --rm mintwire --help
      {", ".join(f"{services[name]}/docs" for name in CALLED)}
"""


def main() -> None:
    """Create the demo and print what to try."""
    try:
        stack = asyncio.run(make_demo(os.environ))
    except StackError as problem:
        sys.exit(str(problem))
    print(what_to_try(stack), flush=True)


if __name__ == "__main__":
    main()

"""What to try next, with the real values of the running stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mintwire.stack.config import DEFAULT_FOLDER
from mintwire.stack.folder import StackFolder


def what_next(stack: Mapping[str, Any], folder: StackFolder) -> str:
    """Return the links and command lines to try."""
    codes, redemption, webhooks = (stack["services"][name] for name in ("codes", "redemption", "webhooks"))
    partner, program = stack["partner"]["api_key"], stack["program"]["api_key"]
    command = _command(folder)
    sign_ins = sign_in_lines(stack)
    return f"""
Mintwire is up.

  Dashboard       {stack["services"]["dashboard"]}
{sign_ins}
  Demo shop       {stack["services"]["shop"]}   (opened by the `url` of a code, with the code applied)
  API documents   {codes}/docs   {redemption}/docs   {webhooks}/docs
  Keys and URLs   {folder.stack_file}
  Logs            {folder.path / "logs"}
  Webhooks        {folder.webhooks_log}

Try:
  curl -X POST {codes}/api/partners/codes/generate -H "X-Partner-Key: {partner}"
  curl {codes}/api/partners/codes -H "X-Partner-Key: {partner}"
  curl {codes}/api/partners/quota -H "X-Partner-Key: {partner}"
  curl {codes}/v1/partners -H "Authorization: Bearer {program}"
  curl {webhooks}/v1/webhooks/deliveries -H "X-Partner-Key: {partner}"
  {command} code generate
  {command} checkout complete CODE --attribute recipient_name=Sarah     # with the code from the line above
  {command} demo fill     # 90 days of history, for lists and statistics
  {command} doctor
  {command} --help"""


def sign_in_lines(stack: Mapping[str, Any]) -> str:
    """Return the accounts of the dashboard that may change things, a line each."""
    shown = [each for each in stack["sign_ins"] if each["grade"] == "change"]
    return "\n".join(f"    {each['role']:<10} {each['email']}   {each['password']}" for each in shown)


def how_to_stop(folder: StackFolder, *, is_in_background: bool) -> str:
    """Return the last line printed after a start."""
    down = "make down" if folder.path == DEFAULT_FOLDER else f"{_command(folder)} stack down"
    if is_in_background:
        return f"\nIt runs in the background; `{down}` stops it."
    return f"\nCtrl-C stops everything; so does `{down}` in another terminal, and closing this one."


def _command(folder: StackFolder) -> str:
    return "bin/mintwire" if folder.path == DEFAULT_FOLDER else f"STACK_DIR={folder.path} bin/mintwire"

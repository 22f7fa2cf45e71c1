"""Uses a compose stack as people do, from the first build to the last `down`, while buying through it all the time.

Run by `scripts/compose-up-for-real.sh check`, on an engine of its own. It works on a copy of the tree, removes the
stack and the image that it finds, and stops with a message at the first failure.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from scripts.compose_stack import Stack, say, until
from scripts.compose_traffic import Traffic, buy, refuse_foreign_topics

REPOSITORY = Path(__file__).resolve().parents[1]
BUILDS = int(os.environ.get("COMPOSE_REAL_BUILDS", "3"))
SERVICES = ("codes", "redemption", "webhooks")
ORIGIN = f"http://127.0.0.1:{os.environ.get('ORIGIN_PORT', '8080')}"
STOP_SECONDS = 20
# Characters that a URL, a shell or compose would read as something else.
HARD_PASSWORD = "p@ss/w:rd#1?%41&=+ $x"  # noqa: S105 - made for this stack
_SENT = (
    ".dockerignore",
    "Dockerfile",
    "docker-compose.yml",
    "requirements.txt",
    "deploy",
    "shared",
    "services",
    "mintwire",
)


def copy_of_the_tree(folder: Path) -> Path:
    """Copy the files that compose and the build read, so that they can be changed."""
    for name in _SENT:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder / name)
    return folder


def first_builds(stack: Stack) -> None:
    """Check that each first build works, the command runs before any `up`, and a second `up` changes nothing."""
    stack.forget_image()
    said = stack.compose("run", "--rm", "mintwire", "--help")
    if "mintwire" not in said.lower():
        sys.exit("the command does not run before the first `up`")
    say("`docker compose run --rm mintwire --help` before any `up`")
    for number in range(BUILDS):
        stack.compose("down", "--volumes", "--remove-orphans")
        stack.forget_image()
        stack.compose("up", "-d", "--build", "--wait")
        before = stack.ids()
        stack.compose("up", "-d", "--wait")
        if stack.ids() != before:
            sys.exit("`up` right after the first build recreates containers")
        say(f"first build {number + 1} of {BUILDS}: up, and a second `up` changes nothing")


def ask_the_origin() -> None:
    """Check that each service answers at the one origin, and that what is internal does not."""
    for path, expected in {**{f"/openapi/{name}.json": 200 for name in SERVICES}, "/metrics": 404}.items():
        try:
            status = urllib.request.urlopen(f"{ORIGIN}{path}", timeout=10).status  # noqa: S310 - http, to this machine
        except urllib.error.HTTPError as refused:
            status = refused.code
        if status != expected:
            sys.exit(f"{path} at the one origin: {status}")
    say("one origin: each service answers, and what is internal does not")


def scale(stack: Stack) -> None:
    """Check that more replicas take part, and leave again without a lost request."""
    with Traffic(stack) as traffic:
        stack.compose("up", "-d", "--wait", "--scale", "codes=2", "--scale", "redemption=3", "--scale", "webhooks=2")
        until("each replica of codes answers", lambda: traffic.replicas_that_minted() == 2)
        stack.compose("up", "-d", "--wait")
        until("one of each is left", lambda: all(len(stack.pids(name)) == 1 for name in SERVICES))
    traffic.settle()
    say(f"scaled up and back under load: {traffic.summary()}")


def kill_each(stack: Stack) -> None:
    """Kill the process of each part, like a crash; the engine restarts it, and nothing is lost."""
    for name in (*SERVICES, "proxy", "receiver", "rabbitmq", "postgres"):
        with Traffic(stack) as traffic:
            before = stack.pids(name)
            for pid in before:
                os.kill(pid, 9)
            until(f"{name} is restarted", partial(_is_new, stack, name, before))
            stack.wait_until_healthy()
        traffic.settle()
        say(f"{name} killed under load: {traffic.summary()}")


def _is_new(stack: Stack, name: str, old: list[int]) -> bool:
    now = stack.pids(name)
    return bool(now) and not set(now) & set(old)


def restart_all(stack: Stack) -> None:
    """Restart each service with compose, and the engine twice."""
    for name in (*SERVICES, "proxy", "receiver", "rabbitmq", "postgres"):
        stack.compose("restart", name)
        stack.wait_until_healthy()
        buy(stack)
        say(f"`restart {name}`: bought")
    for number in range(2):
        stack.restart_engine()
        stack.wait_until_healthy()
        buy(stack)
        say(f"engine restarted ({number + 1} of 2): all healthy, bought")


def upgrade(stack: Stack) -> None:
    """Build changed source over a running stack: its data stays, and the demo finds what it created."""
    demo = stack.demo()
    notice = stack.source / "shared" / "__init__.py"
    notice.write_text(notice.read_text() + "# Another version.\n")
    with Traffic(stack) as traffic:
        stack.compose("up", "-d", "--build", "--wait")
    traffic.settle()
    if stack.demo()["partner"] != demo["partner"]:
        sys.exit("the upgrade created another demo")
    buy(stack)
    say(f"upgraded under load: {traffic.summary()}")


def stop_and_start(stack: Stack) -> None:
    """Stop the services in time and with a clean exit; `down` keeps the data."""
    demo = stack.demo()
    began = time.monotonic()
    stack.compose("stop", *SERVICES)
    took = time.monotonic() - began
    codes = stack.exit_codes(SERVICES)
    if took > STOP_SECONDS or any(codes.values()):
        sys.exit(f"the services stopped in {took:.1f} s with {codes}")
    stack.compose("down")
    stack.compose("up", "-d", "--wait")
    if stack.demo()["partner"] != demo["partner"]:
        sys.exit("`down` and `up` created another demo")
    buy(stack)
    say(f"services stopped in {took:.1f} s with exit codes 0; `down`, `up`: bought")


def other_key(stack: Stack, key: str) -> None:
    """Change the key for the secrets of endpoints: alone it decrypts none; before the old one it replaces it."""
    old = stack.compose("exec", "-T", "webhooks", "printenv", "WEBHOOKS_SECRET_KEY").strip()
    _write_env(stack, {"WEBHOOKS_SECRET_KEY": key})
    stack.refused("up", "-d", "--wait")
    stack.must_say("webhooks", '"variable":"WEBHOOKS_SECRET_KEY"')
    say("a key that decrypts no secret: webhooks is not ready, with a line that names WEBHOOKS_SECRET_KEY")
    _write_env(stack, {"WEBHOOKS_SECRET_KEY": f"{key},{old}"})
    stack.compose("up", "-d", "--wait")
    until(
        "everything is encrypted again",
        lambda: "secrets_resealed" in stack.compose("logs", "--no-log-prefix", "webhooks"),
    )
    say("the old key behind the new one: up, and everything is encrypted again")


def other_passwords(stack: Stack) -> None:
    """Switch to production on the same volumes: wrong settings end in a message that names them."""
    variables = ["POSTGRES_PASSWORD", "CODES_OPERATOR_TOKEN"]
    variables += [f"{name.upper()}_DATABASE_PASSWORD" for name in SERVICES]
    variables += [f"{name.upper()}_BROKER_PASSWORD" for name in (*SERVICES, "checkout", "operator")]
    own = dict.fromkeys(variables, HARD_PASSWORD)
    own |= {f"{name.upper()}_SECRET_KEY": name[0].upper() * 43 + "=" for name in SERVICES}
    other_key(stack, own["WEBHOOKS_SECRET_KEY"])
    own["RABBITMQ_DEFINITIONS"] = "./definitions.json"
    stack.compose("down")
    _write_env(stack, own)
    refused = stack.refused("run", "--rm", "-T", "-e", "OPERATOR_BROKER_PASSWORD=", "definitions")
    if "not set: OPERATOR_BROKER_PASSWORD" not in refused:
        sys.exit(f"definitions without a password: {refused}")
    made = stack.compose("run", "--rm", "-T", "definitions")
    definitions = stack.source / "definitions.json"
    definitions.write_text("")
    definitions.chmod(0o644)
    stack.overlay("deploy/production.yml")
    stack.refused("up", "-d", "--build", "--wait", "rabbitmq")
    stack.must_say("rabbitmq", "The file that RABBITMQ_DEFINITIONS names is empty")
    say("an empty file of definitions is refused with a message")
    definitions.write_text(made)
    stack.compose("up", "-d", "--wait", "--force-recreate", "rabbitmq")
    stack.refused("up", "-d", "--wait")
    stack.must_say("migrate", "POSTGRES_PASSWORD in .env")
    say("another password than the database's is refused with a message that names POSTGRES_PASSWORD")
    stack.compose(
        "exec", "-T", "postgres", "psql", "-qU", "mintwire", "-c", f"ALTER ROLE mintwire PASSWORD '{HARD_PASSWORD}'"
    )
    stack.compose("up", "-d", "--wait")
    say("production with passwords of all characters on the volumes of development: up")
    _write_env(stack, own | {"CODES_BROKER_PASSWORD": "other"})
    stack.refused("up", "-d", "--wait")
    stack.must_say("migrate", "CODES_BROKER_PASSWORD in .env")
    say("another password than the broker's is refused with a message that names CODES_BROKER_PASSWORD")
    (stack.source / ".env").unlink()
    stack.overlay("")


def _write_env(stack: Stack, variables: dict[str, str]) -> None:
    (stack.source / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))


def main() -> None:
    """Run all checks."""
    with tempfile.TemporaryDirectory(prefix="mintwire-compose-check-") as folder:
        stack = Stack(copy_of_the_tree(Path(folder)))
        stack.compose("down", "--volumes", "--remove-orphans")
        first_builds(stack)
        buy(stack)
        refuse_foreign_topics()
        findings = json.loads(stack.compose("run", "--rm", "-T", "mintwire", "doctor", "--json"))
        if not findings["is_ok"]:
            sys.exit(f"doctor: {[check for check in findings['checks'] if not check['is_ok']]}")
        say(f"doctor: {len(findings['checks'])} findings, all passed")
        ask_the_origin()
        scale(stack)
        kill_each(stack)
        restart_all(stack)
        upgrade(stack)
        stop_and_start(stack)
        other_passwords(stack)
        stack.compose("down", "--volumes")
        stack.compose("up", "-d", "--wait")
        buy(stack)
        stack.compose("down", "--volumes", "--remove-orphans")
        say("`down -v`, `up`, `down -v`; all checks passed")


if __name__ == "__main__":
    main()

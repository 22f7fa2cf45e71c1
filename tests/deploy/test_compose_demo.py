"""What the compose file's demo prints leads through the main job with the demo's own keys and the published ports."""

import re

from mintwire.cli.config import BESIDE_THE_BROKER_URL, VARIABLES
from mintwire.stack.compose_demo import what_to_try
from tests.deploy.compose_files import config

STACK = {
    "services": {
        "codes": "http://127.0.0.1:8001",
        "redemption": "http://127.0.0.1:8002",
        "webhooks": "http://127.0.0.1:8003",
        "dashboard": "http://127.0.0.1:8000",
        "shop": "http://localhost:8004",
    },
    "sign_ins": [{"role": "merchant", "grade": "change", "email": "merchant@demo.example", "password": "secret"}],
    "program": {"id": "program-id", "api_key": "mw_sk_program"},
    "partner": {"id": "partner-id", "api_key": "mw_sk_partner"},
}


def test_the_reader_is_led_with_the_demo_s_own_keys_and_the_published_ports() -> None:
    told = what_to_try(STACK)
    assert ('curl -X POST http://127.0.0.1:8001/api/partners/codes/generate -H "X-Partner-Key: mw_sk_partner"') in told
    assert "program program-id, key mw_sk_program" in told
    assert "Dashboard: http://127.0.0.1:8000" in told
    assert "merchant@demo.example   secret" in told
    assert "docker compose run --rm mintwire checkout complete CODE " in told


def test_the_commands_told_are_services_of_the_compose_file() -> None:
    services = config("docker-compose.yml", environment={"COMPOSE_PROFILES": "command"})["services"]
    told = what_to_try(STACK)
    assert set(re.findall(r"docker compose (?:run --rm|logs) (\w+)", told)) == {"mintwire", "receiver"}
    assert {"mintwire", "receiver"} <= set(services)
    assert services["mintwire"]["entrypoint"] == ["python", "-m", "mintwire"]


def test_the_command_s_variables_are_those_it_reads() -> None:
    services = config("docker-compose.yml", environment={"COMPOSE_PROFILES": "command"})["services"]
    known = {variable for variable, _ in VARIABLES.values()} | {"STACK_DIR", BESIDE_THE_BROKER_URL}
    assert set(services["mintwire"]["environment"]) <= known

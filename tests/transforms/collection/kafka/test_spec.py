"""What a Kafka source may be in a job file, and in which words it is refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from transforms.collection.kafka.spec import KafkaSpec
from transforms.storage.kafka.spec import KafkaSinkSpec
from transforms.systems.kafka import KafkaCluster, KafkaSecurity, KafkaUnusable
from transforms.time.watermark import WatermarkSpec

DOCS = Path(__file__).parents[4].joinpath("docs", "kafka.md").read_text(encoding="utf-8")

SASL = {"protocol": "sasl_ssl", "mechanism": "SCRAM-SHA-512", "username": "u", "password_env": "P"}


def spec(**fields: Any) -> KafkaSpec:
    return KafkaSpec.model_validate({"brokers": "a:9092", "topic": "events", **fields})


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"brokers": "a"}, "brokers", "must be host:port, several separated by commas, is 'a'"),
        ({"brokers": "a:1,b:99999"}, "brokers", "must be host:port, several separated by commas, is 'b:99999'"),
        ({"topic": "a b"}, "topic", "must be a topic: up to 249 of A-Z a-z 0-9 . _ -, is 'a b'"),
        ({"start": "soon"}, "start", "must be earliest, latest, or a time with an offset such as"),
        ({"start": "2026-01-31T00:00:00"}, "start", "is '2026-01-31T00:00:00'"),
        ({"format": "avro"}, "", "schema_registry is required with format avro"),
        ({"schema_registry": {"url": "http://r"}}, "", "schema_registry goes with format avro, not jsonl"),
        ({"settings": {"group.id": "x"}}, "settings", "must not have group.id: write group"),
        ({"settings": {"sasl.password": "x"}}, "settings", "must not have sasl.password: write security.password_env"),
        ({"settings": {"isolation.level": "x"}}, "settings", "must not have isolation.level, on which exactly-once"),
        ({"settings": {"ssl.keystore.password": "x"}}, "settings", "a job file must not hold secrets"),
        ({"security": {"protocol": "sasl_ssl"}}, "security", "security.mechanism is required with protocol sasl_ssl"),
        (
            {"security": {**SASL, "protocol": "ssl"}},
            "security",
            "goes with protocol sasl_ssl or sasl_plaintext, not ssl",
        ),
        ({"security": {"ca": "x"}}, "security", "security.ca goes with protocol ssl or sasl_ssl, not plaintext"),
        (
            {"security": {"protocol": "ssl", "key": "k"}},
            "security",
            "security.certificate and security.key go together",
        ),
    ],
)
def test_what_is_wrong_is_said_with_field_rule_and_value(fields: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    (error,) = caught.value.errors()
    assert error["loc"] == ((place,) if place else ())
    assert words in error["msg"]


def test_a_secret_written_where_its_variable_belongs_is_not_quoted() -> None:
    for fields in (
        {"security": {**SASL, "password_env": "hunter-2"}},
        {"format": "avro", "schema_registry": {"url": "http://u:hunter-2@r"}},
    ):
        with pytest.raises(ValidationError) as caught:
            spec(**fields)
        assert all("hunter" not in error["msg"] for error in caught.value.errors())


def test_a_start_may_be_a_time() -> None:
    assert spec(start="1970-01-01T01:00:01.5+01:00").start_ms == 1_500
    assert spec(start="1970-01-01T00:00:01Z").start_ms == 1_000
    assert spec(start="latest").start_ms is None


def test_a_specification_survives_json() -> None:
    whole = spec(start="2026-01-31T00:00:00Z", security=SASL, settings={"fetch.wait.max.ms": 10}, group="g")
    assert KafkaSpec.model_validate_json(whole.model_dump_json()) == whole


def test_secrets_come_from_the_environment_when_a_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = KafkaCluster.model_validate({"brokers": "a:1", "security": SASL})
    monkeypatch.delenv("P", raising=False)
    with pytest.raises(KafkaUnusable, match=r"security\.password_env: the environment variable P is not set"):
        cluster.client_settings()
    monkeypatch.setenv("P", "secret")
    assert cluster.client_settings()["sasl.password"] == "secret"
    assert "secret" not in repr(cluster)


def test_settings_of_the_user_come_before_ours_and_not_before_the_brokers() -> None:
    cluster = KafkaCluster(brokers="a:1", settings={"client.id": "mine", "linger.ms": 7})
    settings = {"linger.ms": 20, **cluster.client_settings()}
    assert (settings["client.id"], settings["linger.ms"], settings["bootstrap.servers"]) == ("mine", 7, "a:1")


def blocks() -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)]


def test_what_the_docs_show_is_right() -> None:
    job, secure = blocks()
    KafkaSpec.model_validate(job["source"]["kafka"])
    WatermarkSpec.model_validate(job["watermark"])
    KafkaSinkSpec.model_validate(job["sinks"][-1])
    KafkaSecurity.model_validate(secure["security"])


def test_every_field_is_documented() -> None:
    for described in (KafkaSpec, KafkaSinkSpec):
        published = described.model_json_schema()
        for definition in (published, *published["$defs"].values()):
            for name in definition["properties"]:
                assert re.search(rf"\b{name}\b", DOCS), name

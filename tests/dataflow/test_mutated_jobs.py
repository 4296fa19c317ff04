"""Job files that were changed by chance end in a plan or in sentences, never in a traceback."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.dataflow.jobs import JSON_LINES, changed, streamgauge, write_json_lines

ROOT: Final = Path(__file__).resolve().parents[2]
WHOLE: Final = changed(
    JSON_LINES,
    preprocess=[
        {"fill": {"value": 0.5}},
        {"derive": {"hour": "date_part('hour', make_timestamp(ts * 1000000))"}},
        {"split": {"into": {"train": 0.8, "test": 0.2}, "by": ["key"]}},
    ],
    aggregations=[
        {
            "name": "by_key",
            "key": ["key", "split"],
            "window": {"calendar": "day", "time_zone": "Europe/Berlin"},
            "statistics": {"value": ["mean", "p95", "top3"]},
            "models": {"m": {"kind": "linear_regression", "target": "value", "features": ["hour"]}},
        }
    ],
    sinks=[
        {"parquet": {"path": "out"}},
        {"sql": {"url": "sqlite:///figures.db"}},
        {"sql": {"url": "postgresql://app@127.0.0.1:1/figures"}},
        {"kafka": {"brokers": "127.0.0.1:1", "topic": "t_{table}", "settings": {"linger.ms": 5}}},
    ],
    dead_letters={"path": "letters", "fail_above": 0.5},
    report="report.html",
    state="state",
    execution={"shards": 2, "range": "1MiB", "checkpoint": "10s"},
)
ODD: Final[list[object]] = [
    *(None, True, False, 0, -1, 5, 2**63, 0.5, float("nan"), float("inf"), "", " ", "~", "~/x", "..", "/", "//", "\0"),
    *("s3://", "s3://b/x", "gs://b", "foo://x", "file://", "file:///", "file://h/x", "file:x", "a::b", "hdfs://h/x"),
    *("sqlite://", "sqlite:///", "sqlite:///..", "sqlite:////", "postgresql://", "mysql://h/x", "://", "x://@:/"),
    *(
        "${NOT_SET_ANYWHERE}",
        "${X:-y}",
        "$X",
        "{table}",
        "ledger",
        "key",
        "1h",
        "010",
        "1_0",
        "x" * 5_000,
        "\udc80",
        "é",
    ),
    *([], {}, [[]], [{}], {"": ""}, {"path": 1}, {"url": []}, {"a": {"b": {"c": [1]}}}, ["key"] * 40),
]


def places(content: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a content."""
    entries = list(content.items() if isinstance(content, dict) else enumerate(content))
    inner = [places(value, (*place, key)) for key, value in entries if isinstance(value, list | dict)]
    return [(*place, key) for key, _ in entries] + [found for within in inner for found in within]


def mutated(content: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """The content with something else in a place, a name spelt wrong, a part left out, doubled or put elsewhere."""
    odd = deepcopy(content)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        place = dice.choice(places(odd))
        within: Any = odd
        for part in place[:-1]:
            within = within[part]
        key = place[-1]
        match dice.randrange(6):
            case 0 | 1:
                within[key] = dice.choice(ODD)
            case 2 if isinstance(within, dict):
                within[f"{key}{dice.choice(('s', '_', ' '))}"] = within.pop(key)
            case 3:
                del within[key]
            case 4 if isinstance(within, list):
                within.append(deepcopy(within[key]))
            case _:
                other = dice.choice(places(odd))
                value: Any = odd
                for part in other:
                    value = value[part]
                within[key] = deepcopy(value)
        if not odd:
            break
    return odd


@pytest.mark.parametrize("seed", range(4))
def test_a_job_file_changed_by_chance_ends_in_a_plan_or_in_sentences(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    write_json_lines(tmp_path / "data.jsonl", [{"ts": 1, "key": "a", "value": 1.0}])
    job = tmp_path / "job.yaml"
    for number in range(100):
        content = mutated(WHOLE, dice)
        job.write_bytes(yaml.safe_dump(content, sort_keys=False).encode("utf-8", "surrogateescape"))
        ended = streamgauge("plan", job)
        assert ended.code in (0, 2), (number, content, ended.err)
        assert ended.code == 0 or ended.message


@pytest.mark.parametrize("seed", range(2))
def test_a_text_changed_by_chance_ends_in_a_plan_or_in_sentences(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    write_json_lines(tmp_path / "data.jsonl", [{"ts": 1, "key": "a", "value": 1.0}])
    text = (ROOT / "examples/flights.yaml").read_text(encoding="utf-8")
    own = yaml.safe_dump(WHOLE, sort_keys=False)
    job = tmp_path / "job.yaml"
    for number in range(100):
        cut = list(dice.choice((text, own)))
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(cut))
            cut[at : at + dice.randrange(4)] = dice.choice(
                ("", "\0", "\t", ": ", "- ", "{", "}", "'", "&a ", "*a", "é", "\n")
            )
        job.write_text("".join(cut), encoding="utf-8")
        ended = streamgauge("plan", job)
        assert ended.code in (0, 2), (number, "".join(cut), ended.err)
        assert ended.code == 0 or ended.message

"""The report: what it says, and that a browser opens it from a file, quietly and without asking for anything."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from dataflow.report import AggregationView, ReportData, render
from tests.browser import open_chromium
from transforms.model.kind import model_of
from transforms.model.kinds.linear_regression import LinearRegressionSpec

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
ATTACK = "</script><script>alert(1)</script>"
SAME: dict[str | None, str] = {text: text for text in (ATTACK, "\"'`&amp;<b>", "東京 ✈", "{{ 7 * 7 }}")}
HOSTILE = {**SAME, "null": '"null"', "": '""', None: "null", "\u202exe": '"\\u202exe"'}
NO_LETTERS = pa.table({"reason": [], "stage": [], "letters": pa.array([], pa.int64()), "example_detail": []})
ARRIVAL = LinearRegressionSpec(kind="linear_regression", target="delay", features=("gap",))
DELAYS = {"delay": ("count", "mean", "p95"), "gap": ("mean",)}


def aggregation(
    keys: list[Any], days: int, statistics: Mapping[str, tuple[str, ...]] = DELAYS, has_models: bool = True
) -> AggregationView:
    """Every key in every window, the first key with most rows; the model says delay = 2 + 3 gap, and that is true."""
    count, random = len(keys) * days, np.random.default_rng(7)
    names = [f"{column}_{statistic}" for column, words in statistics.items() for statistic in words]
    figures: dict[str, Any] = {name: random.normal(10, 3, count) for name in names}
    if "gap_mean" in figures:
        figures["delay_mean"] = 2 + 3 * figures["gap_mean"]
    rows = np.repeat(np.arange(len(keys), 0, -1) * 10, days)
    starts = [START + timedelta(days=day) for day in range(days)] * len(keys)
    windows = {"window_start": starts, "window_end": [start + timedelta(days=1) for start in starts]}
    instants = {name: pa.array(values, pa.timestamp("us", "UTC")) for name, values in windows.items()}
    identity = {**instants, "key": pa.array([key for key in keys for _ in range(days)])}
    fitted = {"intercept": [2.0] * count, "coefficient_gap": [3.0] * count, "r2": random.random(count)}
    models = {"model": ["arrival"] * count, "n": rows, **fitted, "rmse": random.random(count)}
    return AggregationView(
        name="by_key",
        key=("key",),
        window="1d",
        statistics=statistics,
        models={"arrival": model_of(ARRIVAL)} if has_models else {},
        table=pa.table({**identity, "rows": rows, **figures, "final": [True] * count}),
        models_table=pa.table({**identity, **models}) if has_models else None,
    )


def report(*aggregations: AggregationView, dead_letters: pa.Table = NO_LETTERS, dead: int = 0) -> ReportData:
    return ReportData(
        job="flights",
        versions={"streamgauge": "0.1.0", "apache-beam": "2.77.0"},
        finished=START,
        seconds=12.44,
        runner="DirectRunner",
        ledger={"read": 1100 + dead, "accepted": 1000, "dead": dead, "filtered": 90, "duplicate": 7, "late": 3},
        dead_letters=dead_letters,
        aggregations=aggregations,
        sinks=("parquet out/flights",),
    )


def series(page: str, number: int = 0) -> dict[str, Any]:
    """Reads the embedded figures of an aggregation, as strictly as a browser does."""
    text = page.split(f'id="series-{number}">')[1].split("</script>")[0]
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def figures_of(page: str, column: str) -> list[list[float | None]]:
    """Returns the embedded figures of a column, a list a key."""
    position = series(page)["columns"].index(column)
    return [key["columns"][position] for key in series(page)["keys"]]


def test_ledger_identity_is_shown_and_an_imbalance_is_called_out() -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", render(report())).split())
    assert "1,100 read = 1,000 accepted + 0 dead + 90 filtered + 7 duplicate + 3 late" in text
    assert "does not balance" not in text
    assert "does not balance" in render(replace(report(), ledger={**report().ledger, "read": 1101}))


def test_a_job_that_goes_on_has_no_end_and_no_rate() -> None:
    ended, on = (re.sub(r"<[^>]+>", "", render(replace(report(), seconds=seconds))) for seconds in (12.44, None))
    assert "Finished 1 January 2026, 00:00 UTC, after 12.4 s on DirectRunner." in ended and "records a second" in ended
    assert "As of 1 January 2026, 00:00 UTC, a live job on DirectRunner." in on and "records a second" not in on


def test_prediction_takes_the_model_of_the_window_before() -> None:
    view = aggregation(["AA", "UA"], 4)
    assert view.models_table is not None
    position = view.models_table.column_names.index("coefficient_gap")
    learning = view.models_table.set_column(position, "coefficient_gap", pa.array([3.0, 4.0, 5.0, 6.0] * 2))
    page = render(report(replace(view, models_table=learning)))
    gaps = view.table["gap_mean"].to_pylist()
    for values, own in zip(figures_of(page, "arrival: predicted"), (gaps[:4], gaps[4:]), strict=True):
        assert values[0] is None
        assert values[1:] == pytest.approx([2 + 3 * own[1], 2 + 4 * own[2], 2 + 5 * own[3]], rel=1e-5)


def test_missing_mean_is_named_in_the_words_of_the_job_file() -> None:
    page = render(report(aggregation(["AA"], 3, {"delay": ("mean",)})))
    assert "add <code>mean</code> to the statistics of <code>gap</code> in the job file" in page


def test_large_result_gives_one_page_under_three_megabytes_that_says_what_it_left_out() -> None:
    ten = {"delay": ("count", "mean", "std", "min", "max", "p50", "p95", "p99"), "gap": ("mean", "sum")}
    six = {"delay": ("count", "mean", "std", "p50", "p95", "p99")}
    carriers = aggregation([f"C{n}" for n in range(16)], 365, ten, has_models=False)
    routes = aggregation([f"R{n}" for n in range(224)], 395, six, has_models=False)
    page = render(report(carriers, routes))
    assert page == render(report(carriers, routes))
    assert len(page.encode()) < 3_000_000
    assert len(series(page)["keys"]) == 16
    kept = [key["key"] for key in series(page, 1)["keys"]]
    assert kept == [f"R{n}" for n in range(max(40, len(kept)))]
    assert f"the {len(kept)} of 224 keys with most rows" in page


def test_long_series_keeps_the_latest_windows_and_says_so() -> None:
    page = render(report(aggregation(["AA"], 2_500, has_models=False)))
    held = series(page)
    assert "the latest 2,000 windows of each key" in page
    assert len(held["starts"]) == 2_000
    assert held["ends"][-1] * held["unit"] == (START + timedelta(days=2_500)).timestamp() * 1000


def test_what_is_no_number_is_null() -> None:
    view = aggregation(["AA"], 3, {"delay": ("mean",)}, has_models=False)
    odd = pa.array([None, float("nan"), float("inf")], pa.float64())
    page = render(report(replace(view, table=view.table.set_column(4, "delay_mean", odd))))
    assert figures_of(page, "delay_mean") == [[None, None, None]]


def test_keys_need_not_be_text() -> None:
    kinds = {(7, None): ["7", "null"], (True, False): ["true", "false"], (START,): ["2026-01-01 00:00 UTC"]}
    for keys, labels in kinds.items():
        assert [key["key"] for key in series(render(report(aggregation([*keys], 2))))["keys"]] == labels


def test_wrong_data_is_refused_by_name() -> None:
    view = aggregation(["AA"], 1)
    with pytest.raises(ValueError, match="by_key must have rows, has window_start, window_end, key"):
        replace(view, table=view.table.drop_columns(["rows"]))
    with pytest.raises(ValueError, match="ledger must have accepted, dead, filtered, duplicate, late, has read"):
        replace(report(), ledger={"read": 0})


class Desk:
    """A headless Chromium that opens reports from files."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def open(self, folder: Path, data: ReportData) -> None:
        path = folder / "report.html"
        path.write_text(render(data), "utf-8")
        self.browser.get(path.as_uri())

    def all(self, selector: str) -> list[WebElement]:
        return list(self.browser.find_elements(By.CSS_SELECTOR, selector))

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Returns what came into a log since it was last read."""
        entries: list[dict[str, Any]] = self.browser.execute("getLog", {"type": kind})["value"]
        return entries

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, 20, poll_frequency=0.02).until(lambda _: condition())

    def await_drawing(self, figure: WebElement) -> str:
        """Scrolls to a chart and returns its drawing as soon as that is up to date."""
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", figure)
        self.wait(lambda: figure.get_attribute("data-drawn") is not None)
        return str(self.browser.execute_script("return arguments[0].querySelector('svg')?.outerHTML ?? ''", figure))

    def drawings(self) -> list[str]:
        return [self.await_drawing(figure) for figure in self.all("figure")]

    def labels(self) -> list[str]:
        """Returns the text alternatives of all charts, up to date."""
        self.drawings()
        return [str(box.get_attribute("aria-label")) for box in self.all("figure [role=img]")]

    def chip(self, key: str) -> WebElement:
        return next(chip for chip in self.all(".chip") if chip.text == key)

    def emulate(self, width: int = 1280, scheme: str = "light") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = open_chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def desk(chromium: webdriver.Chrome) -> Iterator[Desk]:
    """A page must leave nothing on the console and ask for nothing but its own file, whatever a test does with it."""
    desk = Desk(chromium)
    desk.emulate()
    desk.log("performance")
    yield desk
    assert desk.log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in desk.log("performance")]
    sent = [message["params"]["request"]["url"] for message in messages if message["method"].endswith("WillBeSent")]
    assert [url for url in sent if not url.startswith("data:")] == [chromium.current_url]
    assert desk.browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_every_chart_has_a_title_and_says_what_it_shows(desk: Desk, tmp_path: Path) -> None:
    names = {"reason": ["malformed", "late"], "stage": ["parse", "aggregation:by_key"]}
    letters = pa.table({**names, "letters": [2, 9], "example_detail": ["<i>", None]})
    desk.open(tmp_path, report(aggregation(["AA", "UA"], 9), dead_letters=letters, dead=11))
    labels = desk.labels()
    titles = [title.text for title in desk.all("figure figcaption .title")]
    assert len(titles) == 1 + 4 + 5 + 1 + 1  # rows, statistics, the model, observed against predicted, dead letters
    assert all(title in label for title, label in zip(titles, labels, strict=True))
    assert all(drawing.count("<path") > 1 for drawing in desk.drawings())
    assert re.search(r"Mean of delay, over time.* AA: from [\d.]+ to [\d.]+, latest [\d.]+", labels[2])
    assert labels[-2].startswith("Scatter chart. Mean delay: observed against predicted. 16 windows; root mean squared")
    assert labels[-1] == "Bar chart. Dead letters by reason: late 9, malformed 2."


def test_choosing_keys_redraws_every_chart(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path, report(aggregation(["AA", "B6", "DL", "UA"], 30)))
    before = desk.drawings()
    assert [chip.text for chip in desk.all(".chip[aria-pressed=true]")] == ["AA", "B6", "DL"]
    desk.chip("UA").click()
    assert not set(before) & set(desk.drawings())
    assert all("UA: from" in label for label in desk.labels()[:-1])
    desk.chip("UA").send_keys(Keys.SPACE)
    assert desk.browser.switch_to.active_element.text == "UA"
    assert desk.drawings() == before
    desk.all(".choose-none")[0].click()
    assert set(desk.drawings()) == {""}
    assert desk.all(".chart-box")[0].text == "Choose a key to see its figures."


def test_many_keys_are_found_by_search(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path, report(aggregation([f"key {number}" for number in range(60)], 3)))
    assert len(desk.all(".chip")) == 3 + 24
    desk.all("input[type=search]")[0].send_keys("KEY 57")
    assert [chip.text for chip in desk.all(".chip")] == ["key 0", "key 1", "key 2", "key 57"]
    desk.chip("key 57").click()
    assert "key 57: from" in desk.labels()[0]


def test_arrow_keys_read_a_chart(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path, report(aggregation(["AA"], 5)))
    desk.await_drawing(desk.all("figure")[0])
    desk.all("figure [role=img]")[0].send_keys(Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert desk.all("#tip")[0].text.splitlines() == ["4 Jan 2026", "AA", "10"]


def test_hostile_keys_are_shown_as_they_are(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path, report(aggregation([*HOSTILE], 4)))
    assert [chip.text for chip in desk.all(".chip")] == list(HOSTILE.values())
    assert f"{ATTACK}: from" in desk.labels()[0]


def test_phone_scrolls_down_only(desk: Desk, tmp_path: Path) -> None:
    desk.emulate(width=375)
    desk.open(tmp_path, report(aggregation([ATTACK * 9, *map(str, range(40))], 20)))
    desk.drawings()
    desk.browser.execute_script("for (const details of document.querySelectorAll('details')) details.open = true")
    assert desk.browser.execute_script("return document.documentElement.scrollWidth") == 375


def test_dark_scheme_redraws_in_its_own_colours(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path, report(aggregation(["AA"], 5)))
    light = desk.drawings()[0]
    desk.emulate(scheme="dark")
    desk.wait(lambda: desk.await_drawing(desk.all("figure")[0]) not in {"", light})


def test_empty_result_says_so(desk: Desk, tmp_path: Path) -> None:
    desk.open(tmp_path, report(aggregation([], 0)))
    assert "No window holds a record, so there is nothing to draw." in desk.all("main")[0].text
    assert "No dead letters" in desk.all("main")[0].text
    assert desk.all("figure") == []

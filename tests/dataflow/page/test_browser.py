"""The page as people see it, in headless Chromium: what is there, what follows the job, what can be chosen."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.dataflow.page.conftest import Window
from tests.dataflow.page.pages import START, Page, showing

ATTACK = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def page(tmp_path: Path, window: Window) -> Iterator[Page]:
    with showing(tmp_path) as page:
        window.open(page.url)
        yield page
        window.leave()


def label(window: Window) -> str:
    return str(window.run("return document.querySelector('#chart [role=img]').getAttribute('aria-label')"))


def says(window: Window, words: str) -> bool:
    return words in label(window)


def test_rows_appear_as_windows_close(page: Page, window: Window) -> None:
    window.wait(lambda: "Waiting for the first window to close." in window.text("#chart"))
    page.close(0, "a", "b")
    window.wait(lambda: len(window.all("#newest tbody tr")) == 2)
    for hour in (1, 2, 3):
        page.close(hour, "a", "b")
    window.wait(lambda: "latest 3" in label(window))
    assert label(window) == (
        "Line chart. value_mean of by_key, over time to 1 Jan 2026, 04:00 UTC."
        " a: from 0 to 3, latest 3. b: from 0 to 3, latest 3."
    )
    assert window.text("#chart .title") == "value_mean of by_key"
    assert len(window.all("#chart svg path.line")) == 2
    newest = window.texts("#newest tbody tr:first-child > *")
    assert newest == ["b", "1 Jan 2026, 03:00 to 1 Jan 2026, 04:00 UTC", "10", "9", "3", "4", "b (3)"]


def test_windows_below_a_minute_read_by_their_seconds(page: Page, window: Window) -> None:
    for second, length in ((10, 10), (20, 0.5)):
        start = START + timedelta(seconds=second)
        page.close(0, "a", window_start=start, window_end=start + timedelta(seconds=length))
    window.wait(lambda: len(window.all("#newest tbody tr")) == 2)
    assert window.texts("#newest tbody tr > .window") == [
        "1 Jan 2026, 00:00:20.000 to 1 Jan 2026, 00:00:20.500 UTC",
        "1 Jan 2026, 00:00:10 to 1 Jan 2026, 00:00:20 UTC",
    ]


def test_a_tab_remembers_fewer_windows_of_a_key_the_more_keys_there_are(page: Page, window: Window) -> None:
    keys = [f"k{number}" for number in range(5000)]
    page.close(0, *keys, mean=0.0)
    window.wait(lambda: "3 of 5000 chosen" in window.text("#keys"))
    # The chosen keys come last, so that the tab has the whole window when it has theirs.
    for hour in range(1, 24):
        page.close(hour, *reversed(keys), mean=float(hour))
        window.wait(partial(says, window, f"latest {hour}."))
    points = int(window.run("return document.querySelector('#chart .chart-box').dataset.points"))
    assert 3 * 20 <= points <= 3 * 22, "24 were sent"


def test_state_follows_the_job(page: Page, window: Window) -> None:
    page.bulletin.set(position=1_234, end=1_240, watermark=1_767_225_600_000_000, lag_s=0.25)
    page.bulletin.account({"read": 1_200, "accepted": 1_190, "dead": 7, "late": 3}, {"malformed": 6, "wrong_type": 1})
    window.wait(lambda: window.text("#read") == "1,234")
    assert window.text("#lag-note") == "6 records wait"
    assert window.text("#watermark") == "1 Jan 2026"
    shown = " ".join(window.text("#identity").split())
    assert shown == "1,200 read = 1,190 accepted + 7 dead + 0 filtered + 0 duplicate + 3 late"
    assert window.texts("#reasons tbody th") == ["malformed", "wrong_type"]
    assert "not one record of the format" in window.text("#reasons tbody tr")
    page.bulletin.set(position=1_240, lag_s=0.02)
    window.wait(lambda: window.text("#lag") == "20 ms")
    assert window.text("#lag-note") == "nothing waits"


def test_a_sink_that_is_down_is_told_until_it_is_back(page: Page, window: Window) -> None:
    window.wait(lambda: window.text("#standing") == "Live.")
    page.bulletin.set(trouble="postgresql://db/x: connection refused")
    window.wait(lambda: window.text("#trouble") == "Waiting for a sink: postgresql://db/x: connection refused")
    page.bulletin.set(trouble="")
    window.wait(lambda: not window.all("#trouble")[0].is_displayed())


def test_another_statistic_key_and_table_can_be_chosen(page: Page, window: Window) -> None:
    for hour in range(4):
        page.close(hour, "a", "b", "c", "d", None)
    window.wait(lambda: "3 of 5 chosen" in window.text("#keys"))
    window.choose("#statistic", "value_max")
    window.wait(lambda: "value_max of by_key" in label(window))
    window.run("[...document.querySelectorAll('.chip')].find((chip) => chip.innerText === 'd').click()")
    window.wait(lambda: "d: from 3 to 6, latest 6." in label(window))
    window.run("document.querySelector('.choose-none').click()")
    window.wait(lambda: "Choose a key to see its figures." in window.text("#chart"))
    window.choose("#table", "all")
    window.wait(lambda: "Waiting for the first window" in window.text("#chart"))
    row = {"rows": 5, "value_mean": 2.5, "revision": 0, "final": True}
    known = page.bulletin.rows_after(0, 1)[0][2]
    page.show("all", [{**row, "window_start": known["window_start"], "window_end": known["window_end"]}])
    window.wait(lambda: "all rows: from 2.5 to 2.5" in label(window))
    assert not window.all("#keys")[0].is_displayed(), "one global key leaves no choice"
    window.choose("#table", "by_key")
    window.wait(lambda: "Choose a key" in window.text("#chart"))
    window.run("document.querySelector('.choose-top').click()")
    window.wait(lambda: "3 of 5 chosen" in window.text("#keys"))
    assert "value_max of by_key" in label(window), "each table keeps its own choice"


def test_a_revision_takes_the_place_of_its_row(page: Page, window: Window) -> None:
    page.close(0, "a")
    page.close(1, "a", final=False)
    window.wait(lambda: "may still change" in window.text("#newest"))
    assert len(window.all("#chart .still-open")) == 1
    page.close(1, "a", mean=7.0, revision=1)
    window.wait(lambda: "latest 7" in label(window))
    assert len(window.all("#newest tbody tr")) == 2
    assert window.all("#chart .still-open") == []


def test_arrow_keys_read_the_chart(page: Page, window: Window) -> None:
    for hour in range(3):
        page.close(hour, "a")
    window.wait(lambda: "latest 2" in label(window))
    window.all("#chart [role=img]")[0].send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert window.text("#tip").splitlines() == ["1 Jan 2026, 01:00 to 1 Jan 2026, 02:00 UTC", "a", "1"]


def test_many_keys_are_found_by_search(page: Page, window: Window) -> None:
    page.close(0, "a")
    window.wait(lambda: "1 of 1 chosen" in window.text("#keys"))
    page.close(0, *(f"key {number}" for number in range(60)))
    window.wait(lambda: "of 61 chosen" in window.text("#keys"))
    window.all("#keys input")[0].send_keys("key 57")
    window.wait(lambda: window.texts(".chip") == ["a", "key 57"])


def test_hostile_keys_are_shown_as_they_are(page: Page, window: Window) -> None:
    page.close(0, ATTACK, "‮reversed", "")
    window.wait(lambda: len(window.all(".chip")) == 3)
    assert ATTACK in window.texts(".chip")
    assert '""' in window.texts(".chip")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_scrolls_down_only_in_both_schemes(page: Page, window: Window, scheme: str) -> None:
    window.emulate(375, scheme)
    page.bulletin.account({"read": 10**9, "accepted": 10**9 - 1, "dead": 1}, {"malformed": 1})
    for hour in range(30):
        page.close(hour, ATTACK * 9, *map(str, range(40)))
    window.wait(lambda: "30 windows" in window.text("#chart"))
    assert window.run("return document.documentElement.scrollWidth") == 375
    assert window.run("return document.querySelector('#chart svg').getBoundingClientRect().width") <= 375


def test_page_goes_on_when_the_job_is_started_again(tmp_path: Path, window: Window) -> None:
    with showing(tmp_path) as page:
        window.open(page.url)
        page.close(0, "a")
        window.wait(lambda: len(window.all("#newest tbody tr")) == 1)
    window.wait(lambda: "does not answer" in window.text("#standing"))
    from dataflow.page.server import serving
    from transforms.process.progress import Bulletin

    bulletin = Bulletin()
    address = page.url.removeprefix("http://")
    with serving(page.job, address, lambda sentence: None, bulletin):
        again = Page(page.url, page.job, bulletin)
        again.close(1, "a")
        window.wait(lambda: len(window.all("#newest tbody tr")) == 2)
        assert window.text("#standing") == "Live."
        window.browser.get("about:blank")
    window.log("browser")

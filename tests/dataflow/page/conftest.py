"""A headless Chromium that must find nothing wrong with what it is shown."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.browser import open_chromium


class Window:
    """A browser window on a page that does not stand still."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser
        self.url = ""

    def open(self, url: str) -> None:
        self.url = url
        self.browser.get(url)

    def all(self, selector: str) -> list[WebElement]:
        return list(self.browser.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements at one moment: the page replaces them."""
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.innerText)"
        return list(self.run(script, selector))

    def choose(self, selector: str, option: str) -> None:
        Select(self.all(selector)[0]).select_by_visible_text(option)

    def wait(self, condition: Callable[[], object], seconds: float = 20) -> None:
        WebDriverWait(self.browser, seconds, poll_frequency=0.02).until(lambda _: condition())

    def run(self, script: str, *arguments: object) -> Any:
        return self.browser.execute_script(script, *arguments)

    def log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.browser.execute("getLog", {"type": kind})["value"]
        return entries

    def emulate(self, width: int = 1280, scheme: str = "light") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def leave(self) -> None:
        """Nothing may be on the console, and nothing asked for but the page and its events."""
        assert self.log("browser") == []
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        assert not [message for message in messages if message["method"] == "Network.loadingFailed"]
        sent = {message["params"]["request"]["url"] for message in messages if message["method"].endswith("WillBeSent")}
        assert {url for url in sent if not url.startswith("data:")} <= {f"{self.url}/", f"{self.url}/events"}
        self.browser.get("about:blank")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = open_chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def window(chromium: webdriver.Chrome) -> Window:
    """An empty window; a test that has opened a page leaves it with `leave`."""
    window = Window(chromium)
    window.emulate()
    window.log("browser")
    window.log("performance")
    return window

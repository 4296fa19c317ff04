"""A headless Chromium for tests of pages."""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver


def open_chromium(folder: Path) -> webdriver.Chrome:
    """A browser with a profile of its own in `folder`, which logs its console and what it asks the network for."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.fail("Pages are tested in a browser: install it with `apt-get install chromium chromium-driver`.")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    quiet = "disable-background-networking disable-component-update disable-sync no-first-run"
    for switch in ["headless=new", "no-sandbox", "disable-gpu", *quiet.split()]:
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(driver))

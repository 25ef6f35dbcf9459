"""A real browser, where there is one: Chromium and its driver, without a network."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "GRADVERIFY_REQUIRE_BROWSER"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1280,900")


def absent(what):
    """A skip, or a failure where the environment says that nothing may be skipped."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"required by {REQUIRED}: {what} is not there")
    pytest.skip(f"{what} is not there")


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    """One browser for all tests of a run."""
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ModuleNotFoundError:
        absent("selenium")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        absent("chromium with chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def browser(session):
    """The browser with an empty page and nothing emulated."""
    session.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    session.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    session.get("about:blank")
    for log in ("browser", "performance"):
        session.get_log(log)
    return session

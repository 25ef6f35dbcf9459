"""The page: its size, and how soon a browser lets a person use it. Beside it pytest-html, with as many tests.

    python benchmarks/report_page.py

Writes reports/html.md. Needs Chromium, its driver and selenium; pytest-html for the last rows.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import gradverify as gv
from gradverify.records import Report
from gradverify.report import html

REPORTS = Path(__file__).parents[1] / "reports"
CHECKS, FAILURES, LOADS = 500, (0, 20, 60, 150, 500), 7
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1280,900")
FILTER = """return (() => { const start = performance.now(); document.getElementById('find').value = 'layer_3';
    filter(); document.body.offsetHeight; return performance.now() - start; })()"""
TESTS = """
import pytest
@pytest.mark.parametrize("k", range({checks}))
def test_layer(k):
    x = [0.8 + 0.3 * (-1) ** j for j in range(64)]
    assert k >= {failures} or x == [0.8] * 64
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        browser = start(folder)
        rows = [measure(browser, "gradverify", failures, Path(folder)) for failures in FAILURES]
        if importlib.util.find_spec("pytest_html"):
            rows += [measure(browser, "pytest-html", failures, Path(folder)) for failures in FAILURES]
        version = browser.capabilities["browserVersion"]
        browser.quit()
    (REPORTS / "html.md").write_text(page(rows, version), encoding="utf-8")
    print(page(rows, version))


def start(folder: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={folder}/profile"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    return browser


def busy(browser: webdriver.Chrome) -> float:
    """Milliseconds of CPU that the page's thread has worked since it was loaded."""
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def measure(browser: webdriver.Chrome, tool: str, failures: int, folder: Path) -> tuple[str, ...]:
    path = folder / f"{tool}-{failures}.html"
    started = time.process_time()
    {"gradverify": write_ours, "pytest-html": write_theirs}[tool](failures, path)
    wrote = time.process_time() - started
    times, work = [], []
    for _ in range(LOADS):
        browser.get("about:blank")
        before = busy(browser)
        browser.get(path.as_uri())
        work.append(busy(browser) - before)
        times.append(browser.execute_script("return performance.getEntriesByType('navigation')[0].domInteractive"))
    ours = tool == "gradverify"
    filtered = f"{median(browser.execute_script(FILTER) for _ in range(LOADS)):.0f}" if ours else ""
    figures = len(browser.find_elements("css selector", "figure.curve")) if ours else ""
    return (tool, str(failures), f"{path.stat().st_size / 1000:.0f}", str(figures), f"{wrote:.2f}" if ours else "",
            f"{median(work):.0f}", f"{median(times):.0f}", f"{min(times):.0f}", filtered)


def write_ours(failures: int, path: Path) -> None:
    """Real checks of 64 entries, all of them wrong or all right, under as many names as there are checks."""
    x = np.linspace(-2.0, 2.0, 64).reshape(8, 8)
    slip = 1 + 10.0 ** -(1 + np.arange(64).reshape(8, 8) % 8)
    wrong = gv.check(gv.function(np.sin, derivative=lambda x: slip * np.cos(x)), x, search="none")
    right = gv.check(gv.function(np.sin, derivative=np.cos), x, search="none")
    html.write([named(wrong if k < failures else right, k) for k in range(CHECKS)], path)


def named(report: Report, k: int) -> Report:
    name = f"some_package.some_module:layer_{k}"
    return replace(report, target=name, checks=tuple(replace(check, target=name) for check in report.checks))


def write_theirs(failures: int, path: Path) -> None:
    tests = path.with_suffix(".py").with_name(f"test_{failures}.py")
    tests.write_text(TESTS.format(checks=CHECKS, failures=failures))
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:gradverify", "-p", "no:cacheprovider", tests.name,
                    f"--html={path.name}", "--self-contained-html"], cwd=path.parent, check=False, capture_output=True)


def page(rows: list[tuple[str, ...]], version: str) -> str:
    head = ("page of", "wrong of 500", "kB", "with figures", "s to write (CPU)", "ms of CPU to load", "ms to interactive, median",
            "best", "ms to filter")
    lines = ["# The page of 500 checks", "", "`python benchmarks/report_page.py`", "",
             f"Asked: under 1000 kB, interactive in under 1000 ms. Chromium {version} without a GPU, {LOADS} loads each. Every",
             "failure has 64 wrong entries. Interactive: `domInteractive` of the browser's own clock; pytest-html fills its",
             f"table by a script after that. Load of the machine meanwhile: {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores;",
             "the CPU column does not depend on it. Figures are left out where they would take the page over its size.", ""]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)), ""])


if __name__ == "__main__":
    main()

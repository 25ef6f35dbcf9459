"""The page as a browser shows it: what a person, a keyboard, a screen reader and a printer meet."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import gradverify as gv
from gradverify.records import Cause, Entry, Report, Verdict
from gradverify.report import html

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil\u2066&'\""


@pytest.fixture(scope="module")
def reports():
    """Two real failures, one of them everywhere, a staircase and a pass."""
    x = np.linspace(-2.0, 2.0, 24).reshape(4, 6)
    one = np.where(np.arange(24).reshape(4, 6) == 10, 1.01, 1.0)
    functions = {
        "half": (lambda x: x**3, lambda x: 1.5 * x**2), "slip": (np.sin, lambda x: one * np.cos(x)),
        "stairs": (np.round, np.ones_like), "right": (np.tanh, lambda x: 1 - np.tanh(x) ** 2)}
    found = [gv.check(gv.function(f, derivative=df), x, search="none") for f, df in functions.values()]
    return [replace(report, target=name, checks=tuple(replace(check, target=name) for check in report.checks))
            for name, report in zip(functions, found, strict=True)]


@pytest.fixture
def shown(browser, tmp_path):
    def show(reports):
        html.write(reports, tmp_path / "page.html")
        browser.get((tmp_path / "page.html").as_uri())
        return browser

    return show


def js(browser, code):
    return browser.execute_script(f"return {code}")


def emulate(browser, **features):
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def test_nothing_is_logged_and_nothing_but_the_file_is_asked_for(shown, reports):
    page = shown(reports)
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert any(url.startswith("file:") for url in asked)


def test_the_log_would_show_an_error_of_the_page(browser, tmp_path):
    (tmp_path / "bad.html").write_text("<script>undefined_name</script><img src='http://localhost:9/x.png'>")
    browser.get((tmp_path / "bad.html").as_uri())
    assert len(browser.get_log("browser")) == 2


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_a_phone(shown, reports, width):
    page = shown([*reports, hostile()])
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                         {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": True})
    page.refresh()
    js(page, "document.querySelectorAll('details').forEach(node => node.open = true)")
    assert js(page, "document.documentElement.scrollWidth") <= width


CONTRAST = """[...document.querySelectorAll('body, .quiet, .badge, .headline, caption, small, td, th, dt, b, button')]
  .filter(node => node.offsetParent).map(node => [getComputedStyle(node).color, (function paper(n) {
    const c = getComputedStyle(n).backgroundColor;
    return c !== 'rgba(0, 0, 0, 0)' && !c.includes('/') || !n.parentElement ? c : paper(n.parentElement);
  })(node), node.className + ' ' + node.localName])"""


def luminance(colour):
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("scheme", "paper"), [("light", 0.9), ("dark", 0.02)])
def test_text_stands_out_in_light_and_in_dark(shown, reports, scheme, paper):
    page = shown(reports)
    emulate(page, prefers_color_scheme=scheme)
    assert luminance(js(page, "getComputedStyle(document.body).backgroundColor")) == pytest.approx(paper, abs=0.1)
    pairs = [pair for pair in js(page, CONTRAST) if pair[0].startswith("rgb(") and pair[1].startswith("rgb(")]
    assert len(pairs) > 50
    assert {name for ink, on, name in pairs if contrast(ink, on) < 4.5} == set()


def test_a_print_shows_every_failure_and_no_controls(shown, reports):
    page = shown(reports)
    closed = "document.querySelectorAll('details:not([open])').length"
    before = js(page, closed)
    assert len(page.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 20_000
    js(page, "dispatchEvent(new Event('beforeprint'))")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert js(page, closed) == 0
    assert js(page, "getComputedStyle(document.querySelector('.filter')).display") == "none"
    js(page, "dispatchEvent(new Event('afterprint'))")
    assert js(page, closed) == before > 0


def press(browser, key):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()


def test_the_keyboard_alone_reaches_and_opens_every_failure(shown, reports):
    from selenium.webdriver.common.keys import Keys

    page = shown(reports)
    js(page, "document.querySelectorAll('details').forEach(node => node.open = false)")
    wanted = set(js(page, "[...document.querySelectorAll('details.check')].map(node => node.id)"))
    opened = set()
    for _ in range(60):
        press(page, Keys.TAB)
        if js(page, "document.activeElement.matches('.check:not([open]) > summary')"):
            press(page, Keys.ENTER)
            opened |= {js(page, "document.activeElement.parentElement.open && document.activeElement.parentElement.id")}
    assert opened == wanted
    assert len(wanted) == 3


def test_a_screen_reader_hears_names_tables_and_figures(shown, reports):
    page = shown(reports)
    js(page, "document.querySelectorAll('details').forEach(node => node.open = true)")
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    said = {role: [name for other, name in named if other == role] for role, _ in named}
    assert any("half x" in name and "24 of 24 entries" in name for name in said["DisclosureTriangle"])
    assert all(said["image"])
    assert said["searchbox"] == ["Find"]
    assert len(said["table"]) > 2
    assert all(said["table"] + said["link"] + said["columnheader"] + said["rowheader"])
    assert "main" in said


def visible(page, selector):
    return js(page, f"[...document.querySelectorAll('{selector}')].filter(node => node.offsetParent).length")


def test_filters_leave_what_was_asked_for(shown, reports):
    page = shown(reports)
    everything = visible(page, "tr[data-v]")
    page.find_element("css selector", "label.fail").click()
    assert visible(page, "tr[data-v]") == visible(page, "tr[data-v=fail]") == 2
    page.find_element("id", "find").send_keys("half")
    assert (visible(page, "tr[data-v]"), visible(page, "details.check")) == (1, 1)
    assert page.find_element("id", "shown").text == f"1 of {everything} checks"


def test_a_cause_is_a_button_that_leaves_its_failures(shown, reports):
    page = shown(reports)
    button = page.find_element("css selector", "[data-find=factor]")
    button.click()
    assert (visible(page, "details.check"), button.get_attribute("aria-pressed")) == (1, "true")
    button.click()
    assert visible(page, "details.check") == 3


def test_a_link_from_the_table_opens_the_failure(shown, reports):
    page = shown(reports)
    js(page, "document.querySelectorAll('details').forEach(node => node.open = false)")
    page.find_element("css selector", "tr[data-v=fail] a").click()
    assert js(page, "document.querySelector(location.hash).open")
    assert js(page, "document.activeElement.localName") == "summary"


def hostile():
    entry = Entry(EVIL, (0,), 1.0, 2.0)
    check = gv.Check(EVIL, "w" * 10_000, EVIL, Verdict.FAIL, reason=EVIL, regime=EVIL, detail=EVIL * 100, worst=entry,
                     entries=(entry,), causes=(Cause(EVIL, EVIL, EVIL, "x" * 10_000, 1.0),), dtype=EVIL, oracle=EVIL)
    return Report(EVIL, (check,), notes=(EVIL,), skipped=("n" * 10_000,), again=EVIL)


def test_hostile_names_stay_text(shown):
    page = shown([hostile()])
    assert page.get_log("browser") == []
    assert js(page, "[document.scripts.length, document.images.length]") == [1, 0]
    assert js(page, "document.querySelector('.who bdi').textContent").startswith("<script>alert(1)</script>")
    page.find_element("css selector", "[data-find]").click()
    assert visible(page, "details.check") == 1


def busy(page):
    """Milliseconds that the page's thread has worked: a clock that a busy machine does not stretch."""
    metrics = page.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def test_five_hundred_checks_are_there_within_a_second_and_filtered_within_another(browser, tmp_path, reports):
    html.write([report for _ in range(125) for report in reports], tmp_path / "page.html")
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    start = busy(browser)
    browser.get((tmp_path / "page.html").as_uri())
    loaded = busy(browser)
    js(browser, "(find.value = 'half', filter(), document.body.offsetHeight)")
    assert loaded - start < 1000
    assert busy(browser) - loaded < 1000
    assert visible(browser, "tr[data-v]") == 125


def test_the_page_without_its_script_still_shows_everything(shown, reports):
    page = shown(reports)
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.refresh()
    try:
        assert page.find_element("css selector", "details[open] .curve svg").is_displayed()
        page.find_element("css selector", "label.pass").click()
        assert not page.find_element("css selector", "tr[data-v=fail]").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
AT_THE_TOP = "import pytest\nno = pytest.importorskip('no_such_framework')\ndef test_it(): ..."
INSIDE = "import pytest\ndef test_it():\n    pytest.importorskip('no_such_framework')"


@pytest.mark.parametrize("source", [AT_THE_TOP, INSIDE])
@pytest.mark.parametrize(("required", "outcome"), [
    ("", "skipped"), ("torch", "skipped"), ("no_such", "skipped"), ("torch, no_such_framework", "failed")])
def test_a_skip_fails_if_the_framework_is_required(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch,
                                                   source: str, required: str, outcome: str) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("GRADVERIFY_REQUIRE_FRAMEWORKS", required)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(source)
    counts = pytester.inline_run().listoutcomes()
    assert [len(group) for group in counts] == ([0, 0, 1] if outcome == "failed" else [0, 1, 0])

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import gradverify
from gradverify import checking
from gradverify.report import html, jsonfile

# A run of pytest inside a test forgets what it was the first to import, and NumPy cannot be
# imported twice: so it is imported here.
LOADED = (checking, html, jsonfile)

TARGETS = """
    import numpy as np
    import gradverify as gv

    X = np.array([0.3, 0.7, 1.1])
    right = gv.function(np.sin, derivative=np.cos)
    wrong = gv.function(np.sin, derivative=lambda x: -np.cos(x))
    undecided = gv.function(np.round, derivative=np.ones_like)
"""
RunTests = Callable[..., pytest.RunResult]


@pytest.fixture
def run_tests(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunTests:
    """Run a test file that begins with the three targets, with this plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(gradverify.__file__).parents[1]))

    def run(source: str, *args: str, subprocess: bool = False) -> pytest.RunResult:
        pytester.makepyfile(targets=TARGETS, test_it="from targets import *\nimport pytest\n" + source)
        runner = pytester.runpytest_subprocess if subprocess else pytester.runpytest_inprocess
        return runner("-p", "gradverify.pytest_plugin", *args)

    return run

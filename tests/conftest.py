"""A missing framework may be required, so that no run of the tests skips it unseen."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from importlib.util import find_spec
from typing import Any

import pytest

REQUIRED = "GRADVERIFY_REQUIRE_FRAMEWORKS"  # names separated by commas: torch,jax


def is_required(skip_reason: str, required: str) -> bool:
    """Whether a test was skipped because one of the required frameworks is not there."""
    names = "|".join(re.escape(name) for name in re.split(r"[,\s]+", required) if name)
    return bool(names) and re.search(rf"could not import '({names})\b", skip_reason) is not None


def _fail_if_required(report: Any) -> Any:
    if report.skipped and is_required(str(report.longrepr), os.environ.get(REQUIRED, "")):
        report.outcome, report.longrepr = "failed", f"required by {REQUIRED}: {report.longrepr[-1]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """An oracle whose package is not there skips the test that asks for it, as `importorskip` does."""
    try:
        return (yield)
    except ImportError as error:
        found = re.search(r"needs (\w+); pip install 'gradverify\[", str(error))
        if found and find_spec(found[1]) is None:
            pytest.skip(f"could not import {found[1]!r}: {error}")
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _fail_if_required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _fail_if_required((yield))

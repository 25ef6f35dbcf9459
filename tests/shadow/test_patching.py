from __future__ import annotations

import importlib
import sys

import pytest

from gradverify.shadow.checkers import CHECKERS, Checker
from gradverify.shadow.patching import Patches

THEIRS = Checker("their_checker", "check", "theirs", "nobody")


@pytest.fixture
def patches(tmp_path, monkeypatch):
    (tmp_path / "their_checker.py").write_text("def check(x): return x\nagain = check\n")
    (tmp_path / "their_user.py").write_text("from their_checker import check as chk\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = Patches(lambda checker, original: lambda x: ("heard", original(x)), [THEIRS])
    yield made
    for name in ("their_checker", "their_user"):
        sys.modules.pop(name, None)


def load(name: str):
    return importlib.import_module(name)


def test_a_name_imported_later_is_the_listener(patches) -> None:
    patches.install()
    assert load("their_user").chk(1) == ("heard", 1)
    patches.remove()


def test_a_name_imported_earlier_is_replaced_where_it_stands(patches) -> None:
    user = load("their_user")
    assert user.chk(1) == 1
    patches.install()
    assert user.chk(1) == load("their_checker").again(1) == ("heard", 1)
    patches.remove()


def test_afterwards_everything_is_itself_again(patches) -> None:
    patches.install()
    user = load("their_user")
    patches.remove()
    assert user.chk(1) == load("their_checker").check(1) == 1
    assert patches not in sys.meta_path


def test_nothing_is_imported_for_its_sake(patches) -> None:
    patches.install()
    assert "their_checker" not in sys.modules
    patches.remove()


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda checker: checker.label)
def test_every_checker_is_where_the_table_says_and_its_reader_reads(checker) -> None:
    pytest.importorskip(checker.module.split(".", maxsplit=1)[0])
    assert callable(getattr(importlib.import_module(checker.module), checker.name))
    assert callable(importlib.import_module(checker.reader).questions)

"""The draws of a run: the same seed draws the same, whatever else is imported."""

from __future__ import annotations

import importlib.util
import sys

from hypothesis import strategies as st

from gradverify.strategies.running import explore


def drawn():
    seen: list[float] = []
    explore(st.floats(0, 1e6), lambda x: bool(seen.append(x)), 400, key=5)
    return seen


def test_what_is_imported_changes_no_draw(tmp_path, monkeypatch):
    # Hypothesis draws from the constants of modules outside of site-packages and of folders called tests.
    before = drawn()
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "numbers_of_it.py").write_text("\n".join(f"c{i} = {1000 * i}.015625" for i in range(200)))
    spec = importlib.util.spec_from_file_location("numbers_of_it", folder / "numbers_of_it.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "numbers_of_it", module)
    spec.loader.exec_module(module)
    assert drawn() == before

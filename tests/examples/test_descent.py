"""Three ways to descend: more steps for a pass, noise at the end, and none on average."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "descent.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_smaller_batches_fall_faster_in_a_pass_and_circle_at_the_end(script):
    x, y = script["problem"]()
    best, found = script["floor"](x, y), script["runs"](x, y)
    batch, mini, single = (history.epoch_losses for history in found.values())
    assert single[1] < mini[1] < batch[1]
    assert best < mini[-1] < single[-1]


def test_the_mean_over_all_mini_batches_is_the_full_gradient(script):
    assert script["mean_of_batches"](*script["problem"]()) < 1e-14


def test_the_script_prints_its_facts_and_draws(script, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    script["main"](tmp_path / "descent.svg")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert (tmp_path / "descent.svg").stat().st_size > 1000

"""A run that was cut short goes on where it stopped; parts make up the whole; files are whole or absent."""

from __future__ import annotations

import pytest

from gradverify.audit import audit, find, part_of
from gradverify.audit.journal import Journal, write_atomically
from gradverify.records import Verdict

GOOD = "def f(x): return x * x\ndef f_prime(x): return 2 * x\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.py").write_text(GOOD)
    return tmp_path


def interrupt(done, total, entry):
    raise KeyboardInterrupt


def test_what_was_finished_is_not_tried_again(folder):
    first = audit(folder, jobs=1, journal="j", progress=interrupt)
    tried = []
    second = audit(folder, jobs=1, journal="j", progress=lambda done, total, entry: tried.append(entry.symbol))
    assert (first.interrupted, second.interrupted, second.ok) == (True, False, True)
    assert len(tried) < 3
    assert not (folder / "j").exists()


def test_a_file_that_changed_since_is_tried_again(folder):
    audit(folder / "a.py", jobs=1, journal="j", progress=interrupt)
    (folder / "a.py").write_text(GOOD.replace("2 * x", "3 * x"))
    assert audit(folder / "a.py", jobs=1, journal="j").verdict is Verdict.FAIL


def test_a_line_that_was_cut_short_is_no_entry(folder):
    audit(folder, jobs=1, journal="j", progress=interrupt)
    text = (folder / "j").read_text()
    (folder / "j").write_text(text[: len(text) // 2])
    assert Journal(folder / "j").entries(find(folder), 0) == {}


def test_the_parts_are_disjoint_and_make_up_the_whole(folder):
    everything = find(folder)
    parts = [part_of(everything, f"{k}/2") for k in (1, 2)]
    assert sorted(c.symbol for part in parts for c in part) == [c.symbol for c in everything]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "1/x", ""])
def test_a_part_that_does_not_exist_is_refused(folder, shard):
    with pytest.raises(ValueError, match="shard="):
        audit(folder, shard=shard)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "r").write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError

    with pytest.raises(OSError):
        write_atomically(tmp_path / "r", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    assert (tmp_path / "r").read_text() == "old"

"""Code under audit that crashes, exits, hangs or shouts loses its own entry and no other."""

from __future__ import annotations

from textwrap import dedent

import pytest

from gradverify.audit import audit, find
from gradverify.audit.record import AuditEntry
from gradverify.audit.worker import decode_candidate, decode_entry, encode_candidate, encode_entry
from gradverify.records import Check, Report, Verdict

GOOD = "def f(x): return x * x\ndef f_prime(x): return 2 * x\n"

HOSTILE = {
    "exits": "import os\ndef f(x): os._exit(3)\ndef f_prime(x): return x\n",
    "hangs": "def f(x):\n    while True: pass\ndef f_prime(x): return x\n",
    "dies": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)\ndef f_prime(x): return x\n",
    "quits": "import sys\nsys.exit(1)\ndef f(x): return x\ndef f_prime(x): return x\n",
    "raises": "raise RuntimeError('at import')\ndef f(x): return x\ndef f_prime(x): return x\n",
    "shouts": "import os\nos.write(1, b'{garbage}' * 20000)\n" + GOOD,
    "recurses": "def f(x): return f(x)\ndef f_prime(x): return x\n",
    "deletes": "def f(x): return x\ndef f_prime(x): return x\ndel f\n",
    "segfaults": "import ctypes\ndef f(x): return ctypes.string_at(0)\ndef f_prime(x): return x\n",
    "allocates": "import numpy as np\ndef f(x): return np.ones(10 * 2**30 // 8) * x.sum()\ndef f_prime(x): return x\n",
    "threads": "import threading, time\ndef f(x):\n    threading.Thread(target=time.sleep, args=(99,)).start()\n    return x * x\n"
    "def f_prime(x): return 2 * x\n",
    "handles": "import signal\nfor s in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM): signal.signal(s, signal.SIG_IGN)\n"
    "def f(x):\n    while True: pass\ndef f_prime(x): return x\n",
    "floods": "def f(x):\n    print('x' * 10**5)\n    return x * x\ndef f_prime(x): return 2 * x\n",
    "marks_up": "class B:\n    def forward(self, x):\n        if len(x): raise ValueError('<script>alert(1)</script>')\n        return x\n    def backward(self, d): return d\n",
    "ünïcode": "def f(ξ): return ξ * ξ\ndef f_prime(ξ): return 2 * ξ\n",
    "unlinks": "import os\nos.unlink(__file__)\n" + "def f(x): return x * x\ndef f_prime(x): return 2 * x\n",
    "closes": "import os\nos.closerange(0, 3)\n" + "def f(x): return x * x\ndef f_prime(x): return 2 * x\n",
    "forks": "import os\nif os.fork() == 0: os._exit(0)\n" + "def f(x): return x * x\ndef f_prime(x): return 2 * x\n",
    "returns_itself": "class R:\n    def forward(self, x): return self\n    def backward(self, d): return d\n",
    "lies": "class L:\n    __class__ = int\n    def forward(self, x): return x * x\n    def backward(self, d): return 2 * d\n",
}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for name, code in {**HOSTILE, "good": GOOD, "zgood": GOOD}.items():
        (folder / f"{name}.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report = audit(folder, jobs=2, timeout=9.0)
    return {entry.symbol.partition(":")[0]: entry for entry in report.entries}


HARMLESS = ("shouts", "threads", "floods", "ünïcode", "closes", "forks")


def test_twenty_of_them_are_hostile():
    assert len(HOSTILE) == 20


def test_every_candidate_has_an_entry(entries):
    assert set(entries) == {*HOSTILE, "good", "zgood"}


def test_what_surrounds_the_hostile_ones_is_checked(entries):
    assert {entries[name].verdict for name in ("good", "zgood", *HARMLESS)} == {Verdict.PASS}


REASONS = [
    ("exits", "exit code 3"),
    ("hangs", "did not end within 9 s"),
    ("dies", "SIGKILL"),
    ("quits", "cannot be imported: SystemExit"),
    ("raises", "cannot be imported: RuntimeError: at import"),
    ("recurses", "RecursionError"),
    ("deletes", "f does not exist after the import"),
    ("segfaults", "SIGSEGV"),
    ("allocates", "MemoryError"),
    ("handles", "did not end within 9 s"),
    ("marks_up", "<script>"),
    ("returns_itself", "no floating array"),
]


@pytest.mark.parametrize(("name", "reason"), REASONS)
def test_the_reason_says_what_happened(entries, name, reason):
    assert entries[name].report is None
    assert reason in entries[name].reason


def test_two_files_of_one_name_are_two_modules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, factor in (("one", 2), ("two", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "layers.py").write_text(GOOD.replace("2 * x", f"{factor} * x"))
    verdicts = [entry.verdict for entry in audit("one", "two", jobs=1).entries]
    assert verdicts == [Verdict.PASS, Verdict.FAIL]


def test_a_file_named_like_the_standard_library_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text(GOOD)
    assert audit("random.py", jobs=1).ok


def test_a_module_imports_its_neighbours_and_its_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "maths.py").write_text("def twice(x): return 2 * x\n")
    code = "from .maths import twice\nimport pkg.maths\n" + GOOD.replace("2 * x", "twice(x)")
    (package / "layers.py").write_text(code)
    assert audit("pkg", jobs=1).ok


def test_records_survive_the_pipe(tmp_path):
    (tmp_path / "a.py").write_text(GOOD)
    (candidate,) = find(tmp_path)
    check = Check("t", "x", "out", Verdict.FAIL, computed=float("nan"), shape=(2, 3))
    entry = AuditEntry("a:f", "f/df", Report("t", (check,), notes=("n",)), path="a.py", line=3)
    assert decode_candidate(encode_candidate(candidate)) == candidate
    assert repr(decode_entry(encode_entry(entry))) == repr(entry)


def test_progress_is_told_of_every_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(GOOD + GOOD.replace("f(", "g(").replace("f_prime", "g_prime"))
    seen = []
    audit("a.py", jobs=1, progress=lambda done, total, entry: seen.append((done, total, entry.verdict)))
    assert seen == [(1, 2, Verdict.PASS), (2, 2, Verdict.PASS)]


def test_an_interrupted_audit_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.py").write_text(GOOD)

    def interrupt(done, total, entry):
        raise KeyboardInterrupt

    report = audit(tmp_path, jobs=1, progress=interrupt)
    assert report.interrupted
    assert len(report.entries) == 3
    assert "interrupted by Ctrl-C" in {entry.reason for entry in report.entries}
    assert report.entries[0].verdict is Verdict.PASS


INVALID = [
    ((), {}, "no path"),
    (("x.py",), {"jobs": 0}, "jobs=0"),
    (("x.py",), {"timeout": -1}, "timeout=-1"),
]


@pytest.mark.parametrize(("places", "options", "message"), INVALID)
def test_arguments_that_make_no_sense_are_refused(places, options, message):
    with pytest.raises(ValueError, match=message):
        audit(*places, **options)


def test_a_path_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no_such_file"):
        audit("no_such_file.py")


def test_nothing_found_is_a_report_without_entries(tmp_path):
    (tmp_path / "a.py").write_text(dedent("x = 1"))
    report = audit(tmp_path)
    assert report.entries == ()
    assert not report.ok

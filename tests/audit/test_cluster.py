"""An audit on a cluster of separate processes is the audit of one process, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import warnings

import pytest

from gradverify.audit import audit
from gradverify.selftest import selftest

distributed = pytest.importorskip("distributed")

PAIR = "def f{i}(x): return {i} * x * x\ndef f{i}_prime(x): return {k} * x\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "".join(PAIR.format(i=i, k=2 * i + (i % 5 == 0)) for i in range(1, 13))
    (tmp_path / "many.py").write_text(code)
    return tmp_path


def outcomes(report):
    return [(entry.symbol, entry.convention, entry.verdict, entry.reason) for entry in report.entries]


@pytest.mark.filterwarnings("ignore")
def test_the_report_is_the_same_with_a_worker_killed_in_the_middle(folder):
    here = audit(folder, jobs=2)
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        warnings.simplefilter("ignore")
        pids = list(client.run(os.getpid).values())

        def kill_one(done, total, entry):
            if done == 3:
                os.kill(pids[0], signal.SIGKILL)

        there = audit(folder, dask=client, progress=kill_one)
    assert outcomes(there) == outcomes(here)
    assert len(there.failed) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_selftest_on_a_cluster_sees_what_one_process_sees():
    here = selftest(20, seed=3)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = selftest(20, seed=3, dask=client)
    assert there.tally.verdicts == here.tally.verdicts
    assert there.tally.events == here.tally.events

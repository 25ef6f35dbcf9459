"""The example scripts print what they claim, and what they call really wrong is shown to be so by hand."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

import gradverify as gv

pytest.importorskip("sklearn")
pytest.importorskip("statsmodels")

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "scikit_learn_losses": (36, 0),
    "scikit_learn_mlp": (13, 1),
    "scikit_learn_gaussian_process": (20, 1),
    "scipy_rosenbrock": (6, 0),
    "statsmodels_likelihoods": (13, 3),
}


@pytest.fixture(autouse=True)
def like_a_script(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # a failure is saved where the script runs
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), str(ROOT / "benchmarks"), *sys.path])


@pytest.fixture(scope="module")
def evidence():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "examples"), str(ROOT / "benchmarks"), *sys.path])
        import by_hand

        return {found.section: found for found in by_hand.evidence()}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_verdict_is_a_pass_with_its_resolution_or_a_failure_shown_by_hand(script, capsys, evidence):
    runpy.run_path(str(ROOT / "examples" / f"{script}.py"), run_name="__main__")
    *lines, last = capsys.readouterr().out.splitlines()
    passed, wrong = SCRIPTS[script]
    assert last == f"{passed + wrong} derivatives: {passed} verified, {wrong} really wrong, 0 open"
    passes = [line for line in lines if line.startswith("pass ")]
    assert len(passes) == passed
    assert all(0 < float(number) < 1e-5 for line in passes for number in re.findall(r"\S+e-\d+", line) or ["nan"])
    shown = [line.rsplit(", ", maxsplit=1)[1] for line in lines if "shown by hand" in line]
    assert len(shown) == wrong
    assert set(shown) <= set(evidence)


@pytest.mark.parametrize("section", ["MLPRegressor", "NegativeBinomialP", "NegativeBinomial", "Probit", "Matern"])
def test_three_independent_lines_agree_and_the_library_does_not(section, evidence):
    found = evidence[section]
    assert found.agree < 1e-9
    assert found.off > 1e4 * found.agree
    assert found.off > 1e-6


@pytest.mark.parametrize("meant", [True, False])
def test_an_expected_information_passes_for_its_surrogate_only(meant):
    import statsmodels.api as sm
    import statsmodels_likelihoods as likelihoods

    X, binary, *_ = likelihoods.data()
    probit = sm.families.Binomial(sm.families.links.Probit())
    model = sm.GLM(binary, X, family=probit)
    averaged = sm.GLM(model.predict(likelihoods.BETA), X, family=probit)
    claim = gv.function(model.loglike, hessian=lambda params: model.hessian(params, observed=False))
    surrogate = averaged.loglike if meant else None
    report = gv.check(claim, likelihoods.BETA, order=2, search="none", surrogate=surrogate)
    assert report.verdict is (gv.Verdict.PASS if meant else gv.Verdict.FAIL)

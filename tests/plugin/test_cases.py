from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from gradverify.regimes import inputs as regimes_of_inputs

CASES = """
@gv.cases({"sin": (right, X), "minus": (wrong, X)}, dtypes=["float32", "float64"], regimes=["given", "zeros"])
def test_it(gradverify, case):
    gradverify(case)
"""


def test_a_test_runs_for_every_target_dtype_and_regime(run_tests) -> None:
    result = run_tests(CASES, "-v")
    result.assert_outcomes(passed=4, failed=4)
    result.stdout.fnmatch_lines(["*test_it?sin-float32-zeros? PASSED*", "*test_it?minus-float64? FAILED*"])


def test_a_list_is_named_by_its_targets_and_options_reach_the_check(run_tests) -> None:
    run_tests("""
@gv.cases([(right, X), (right, 2 * X)], name="it", seed=7)
def test_it(it):
    assert {check.seed for check in it.check().checks} == {7}
    assert {check.seed for check in it.assert_gradients(seed=8).checks} == {8}
""", "-v").stdout.fnmatch_lines(["*test_it?sin0? PASSED*", "*test_it?sin1? PASSED*"])


def case(*row, **axes):
    (only,) = gv.cases([row], **axes).args[1]
    return only


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_inputs_come_in_the_dtype_and_the_users_own_stay(dtype) -> None:
    x = np.array([0.3, 0.7])
    _, (moved, labels) = case(np.sin, x, np.array([1, 2]), dtypes=[dtype]).converted
    assert (moved.dtype, labels.dtype, x.dtype) == (dtype, np.int64, np.float64)


def test_an_object_is_converted_with_its_parameters() -> None:
    class Scale:
        def __init__(self):
            self.w, self.dw = np.array([2.0]), None

    scale = Scale()
    moved, _ = case(gv.layer(scale, params="w", grads="dw"), np.ones(2), dtypes=["float32"]).converted
    assert (moved.obj.w.dtype, scale.w.dtype) == (np.float32, np.float64)


def test_a_module_is_converted_with_its_parameters() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 1)
    one = case(module, torch.ones(3, 2), dtypes=["float64"])
    assert one.converted[0].weight.dtype is torch.float64
    assert module.weight.dtype is torch.float32
    assert one.check().ok


@pytest.mark.parametrize("regime", [*regimes_of_inputs.VALUES, *regimes_of_inputs.LAYOUTS])
def test_a_regime_changes_the_inputs(regime) -> None:
    x = np.linspace(-1.0, 1.0, 12).reshape(3, 4)
    _, (new,) = case(np.sin, x, regimes=[regime]).converted
    same_values, same_layout = np.array_equal(new, x), new.strides == x.strides
    assert (same_values, same_layout) == ((True, False) if regime in regimes_of_inputs.LAYOUTS else (False, True))


@pytest.mark.parametrize(("call", "error"), [
    (lambda: gv.cases([(np.sin, 1.0)], dtypes=["float31"]), "dtypes: no such name 'float31'; there are"),
    (lambda: gv.cases([(np.sin, 1.0)], dtypes="float32"), "dtypes='float32': must be a sequence of names"),
    (lambda: gv.cases([(np.sin, 1.0)], regimes=["zeroes"]), "regimes: no such name 'zeroes'; there are given, "),
    (lambda: gv.cases([np.sin]), r"targets\[0\]: must be a tuple \(target, \*inputs\)"),
    (lambda: gv.cases({"sin": (np.sin,)}), r"targets\['sin'\]: must be a tuple"),
    (lambda: gv.cases([(np.sin, 1.0)], sede=3), "sede=: no such option"),
])
def test_arguments_that_make_no_sense_are_named(call, error) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        call()

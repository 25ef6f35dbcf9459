"""Finite differences know their own error: whatever phi is, the bound holds or is infinite."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gradverify.oracles.finite import finite, second_opinion

# phi, its derivative at 0, the relative bound that must be reached
SMOOTH = {
    "entire": (math.exp, 1.0, 1e-11),
    "stiff": (lambda t: math.sin(300 * (1.1 + t)), 300 * math.cos(330), 1e-9),
    "aliased at every coarse radius": (lambda t: math.sin(1e6 * t), 1e6, 1e-8),
    "pole nearby": (lambda t: 1 / (t + 1e-3), -1e6, 1e-8),
    "tiny values": (lambda t: 1e-200 * math.exp(t), 1e-200, 1e-11),
    "huge values": (lambda t: 1e200 * math.exp(t), 1e200, 1e-11),
    "offset": (lambda t: 1e6 + math.sin(1 + t), math.cos(1), 1e-6),
    "cancellation": (lambda t: (1e8 + math.sin(1 + t)) - 1e8, math.cos(1), 1e-4),
    "float32 inside": (lambda t: float(np.sin(np.float32(1 + t))), math.cos(1), 1e-3),
    "edge of the domain": (lambda t: math.log(t + 1e-5), 1e5, 1e-6),
    "edge that is NaN": (lambda t: float(np.sqrt(t + 1e-3)), 0.5 / math.sqrt(1e-3), 1e-9),
    "kink just outside": (lambda t: math.exp(t) + abs(t - 1e-6), 0.0, math.inf),
    "linear, huge scale of length": (lambda t: 1e16 + t, 1.0, 1.0),
    "constant slope": (lambda t: 3 * t, 3.0, 1e-12),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_bound_covers_and_informs(name: str) -> None:
    phi, truth, relative = SMOOTH[name]
    found = finite(phi)
    assert found.covers(truth), found
    assert found.error <= relative * max(abs(truth), 1e-300)
    assert (found.reason, found.oracle, found.native) == ("", "finite", True)


@pytest.mark.parametrize("name", SMOOTH)
def test_another_set_of_nodes_agrees_within_both_bounds(name: str) -> None:
    phi, truth, relative = SMOOTH[name]
    found = second_opinion(phi)
    assert found.covers(truth), found
    assert found.error <= 100 * relative * abs(truth) or relative >= 1.0  # fewer samples fit its radii
    assert found.oracle == "finite central"


@pytest.mark.parametrize(("order", "truth"), [(1, 2.0), (2, 4.0), (3, 8.0)])
def test_higher_orders_come_from_the_same_samples(order: int, truth: float) -> None:
    found = finite(lambda t: math.exp(2 * t), order=order)
    assert found.covers(truth)
    assert found.error < 1e-6
    assert found.evaluations <= 32


NARROW = [(np.float32, 2.0**-23, 1e-4), (np.float16, 2.0**-10, 1e-1)]


@pytest.mark.parametrize(("dtype", "eps", "relative"), NARROW)
def test_narrow_dtypes_are_averaged(dtype: type, eps: float, relative: float) -> None:
    found = finite(lambda t: float(np.tanh(dtype(0.5 + 0.5 * t))), eps)
    truth = 0.5 / math.cosh(0.5) ** 2
    assert found.covers(truth)
    assert found.error < relative * truth


def test_one_rung_is_enough_where_it_is_all_that_is_required() -> None:
    assert finite(lambda t: math.sin(3 + t), require=1e-6).evaluations == 14


def test_a_loose_requirement_does_not_excuse_aliasing() -> None:
    found = finite(lambda t: math.sin(1e4 * (1.1 + t)), require=1e5)
    assert found.covers(1e4 * math.cos(1.1e4))


@pytest.mark.parametrize("require", [None, 1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize(("speed", "height"), [(1.8e3, 2.9e-6), (4.5e2, 1e-5), (1.9e4, 5e-7), (30.0, 1e-3)])
def test_a_ripple_too_low_for_the_noise_is_not_overlooked_because_little_is_asked(
    speed: float, height: float, require: float | None
) -> None:
    found = finite(lambda t: math.exp(t) + height * math.sin(speed * t), require=require)
    assert found.covers(1 + speed * height), found


def test_bfloat16_is_resolved_to_a_tenth() -> None:
    eps, half = 2.0**-7, np.float32(0.5)

    def phi(t: float) -> float:
        bits = np.float32(0.5 + half * t).view(np.uint32)
        x = np.uint32((int(bits) + 0x8000) & 0xFFFF0000).view(np.float32)
        y = np.tanh(x).view(np.uint32)
        return float(np.uint32((int(y) + 0x8000) & 0xFFFF0000).view(np.float32))

    found = finite(phi, eps)
    truth = 0.5 / math.cosh(0.5) ** 2
    assert found.covers(truth)
    assert found.error < 0.1 * truth


def test_a_kink_at_the_point_is_named_with_its_slopes() -> None:
    found = finite(lambda t: abs(t) + 2 * t + 3)
    assert found.reason == "kink"
    assert found.slopes == pytest.approx((1.0, 3.0), abs=1e-3)
    assert found.covers(1.0)
    assert found.covers(3.0)


@pytest.mark.parametrize("phi", [lambda t: float(t > 0), lambda t: math.exp(t) + 1e-6 * (t >= 0)])
def test_a_jump_has_no_bound(phi: object) -> None:
    found = finite(phi)  # type: ignore[arg-type]
    assert (found.reason, found.error) == ("jump", math.inf)


@pytest.mark.parametrize("steps", [8, 256, 4096])
def test_a_staircase_is_not_taken_for_its_trend(steps: int) -> None:
    found = finite(lambda t: round((1.1 + t) * steps) / steps)
    assert (found.reason, found.value, found.error) == ("staircase", 0.0, math.inf)


@pytest.mark.parametrize("phi", [lambda t: 3.0, lambda t: math.tanh(40 * (1 + t)), lambda t: max(0.0, t - 1)])
def test_a_flat_forward_has_slope_zero_within_its_quantum(phi: object) -> None:
    found = finite(phi)  # type: ignore[arg-type]
    assert (found.reason, found.value) == ("flat", 0.0)
    assert 0.0 < found.error < 1e-12


def test_the_edge_of_the_domain_at_the_point_gives_the_slope_from_inside() -> None:
    found = finite(lambda t: math.exp(t) if t >= 0 else math.nan)
    assert found.reason == "domain"
    assert found.covers(1.0)


@pytest.mark.parametrize("phi", [lambda t: math.nan, lambda t: 1 / 0, lambda t: math.log(-1)])
def test_outside_the_domain_there_is_no_number(phi: object) -> None:
    found = finite(phi)  # type: ignore[arg-type]
    assert found.reason == "domain"
    assert math.isnan(found.value)
    assert found.error == math.inf


def test_a_forward_that_is_not_deterministic_is_named() -> None:
    rng = np.random.default_rng(0)
    found = finite(lambda t: math.exp(t) + 1e-6 * rng.normal())
    assert found.reason == "nondeterministic"
    assert found.covers(1.0)


def test_noise_far_above_rounding_is_measured() -> None:
    # The sine of a number with no bits left is as random as it is repeatable.
    found = finite(lambda t: math.exp(t) + 1e-3 * math.sin(1e17 * t))
    assert found.covers(1.0)
    assert 1e-3 < found.error < 1.0


def test_memory_and_the_keyboard_are_not_the_domain() -> None:
    def exhausted(t: float) -> float:
        raise MemoryError

    with pytest.raises(MemoryError):
        finite(exhausted)


def test_the_same_question_has_the_same_answer() -> None:
    assert finite(math.exp) == finite(math.exp)

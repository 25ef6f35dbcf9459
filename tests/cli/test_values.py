"""The words of a command line become objects and arrays, or one clear line."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.cli.outcome import UsageError
from gradverify.cli.values import ordered, read_inputs, resolve


def test_an_input_is_drawn_with_its_dtype_and_shape():
    x = read_inputs(["x=float32[3,4]"], 0)["x"]
    assert (x.dtype, x.shape) == (np.float32, (3, 4))


def test_the_seed_decides_what_is_drawn():
    first, again, other = (read_inputs(["x=float64[3]"], seed)["x"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_input_without_axes_is_drawn():
    assert read_inputs(["t=float64[]"], 0)["t"].shape == ()


def test_integers_lie_below_the_bound():
    labels = read_inputs(["y=int64[200]<3"], 0)["y"]
    assert set(labels) == {0, 1, 2}


def test_numbers_and_lists_are_read_as_they_are():
    values = read_inputs(["t=0.5", "k=3", "y=[0, 2, 1]"], 0)
    assert (values["t"], values["k"], values["y"].tolist()) == (0.5, 3, [0, 2, 1])


def test_files_are_read(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3.0))
    np.savez(tmp_path / "d.npz", a=np.ones(2), b=np.zeros(1))
    values = read_inputs([f"x={tmp_path}/x.npy", f"a={tmp_path}/d.npz:a"], 0)
    assert (values["x"].tolist(), values["a"].tolist()) == ([0, 1, 2], [1, 1])


WRONG = [
    ("x", "write name=float64"),
    ("1x=float64[3]", "write name=float64"),
    ("x=float63[3]", "no dtype 'float63'"),
    ("x=float64[3,]", "sizes with commas"),
    ("x=float64[3", "neither dtype"),
    ("x=float64[-3]", "neither dtype"),
    ("x=complex128[3]", "floating, integer and boolean"),
    ("x=float64[3]<4", "<n is for integers"),
    ("x=missing.npy", "cannot be read"),
    ("x=hello", "neither dtype"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_an_input_outside_the_grammar_is_named_with_the_rule_it_broke(text, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_inputs([text], 0)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_input_given_twice_is_refused():
    with pytest.raises(UsageError, match="x is given twice"):
        read_inputs(["x=1.0", "x=2.0"], 0)


def test_an_archive_with_several_arrays_wants_a_name(tmp_path):
    np.savez(tmp_path / "d.npz", a=np.ones(2), b=np.zeros(1))
    with pytest.raises(UsageError, match="there are a, b"):
        read_inputs([f"x={tmp_path}/d.npz"], 0)


@pytest.fixture
def layers(tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text(
        "class Dense:\n    def __init__(self, n, m=2): self.n, self.m = n, m\n"
        "class Box:\n    inner = Dense\n"
        "def make(): return Dense(4)\n"
        "def f(x): return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_objects_are_found_in_modules_files_and_classes(layers):
    assert resolve("my_layers:f").value(3) == 3
    assert resolve("my_layers:Box.inner").value.__name__ == "Dense"
    assert resolve(f"{layers}/my_layers.py:f").name == "f"
    assert resolve("f", home="my_layers").value(2) == 2


def test_objects_are_made_by_a_call_or_by_a_function_without_parameters(layers):
    assert vars(resolve("my_layers:Dense(3, m=5)").value) == {"n": 3, "m": 5}
    assert resolve("my_layers:make").value.n == 4


NOT_FOUND = [
    ("my_layers", "write module:object"),
    ("my_layers:", "write module:object"),
    ("no_such_module:f", "No module named"),
    ("my_layers:g", "has no 'g'"),
    ("no/such.py:f", "no such file"),
    ("my_layers:Dense(x)", "must be literals"),
    ("my_layers:Dense()", "missing 1 required"),
    ("..:f", "not the name of a module"),
]


@pytest.mark.parametrize(("text", "message"), NOT_FOUND)
def test_an_object_that_is_not_there_is_named(layers, text, message):
    with pytest.raises(UsageError, match=message):
        resolve(text)


def forward(x, w, b, scale=1.0):
    return x @ w + b * scale


def test_inputs_are_ordered_by_the_parameters_of_the_forward():
    assert ordered(forward, {"b": 3, "x": 1, "w": 2}) == ([1, 2, 3], {})


def test_what_follows_a_gap_travels_as_a_keyword():
    assert ordered(forward, {"x": 1, "scale": 2.0}) == ([1], {"scale": 2.0})


def test_a_name_that_the_forward_lacks_is_refused():
    with pytest.raises(UsageError, match="no such argument; the forward takes x, w, b"):
        ordered(forward, {"x": 1, "v": 2})


def test_a_single_input_needs_no_right_name():
    assert ordered(lambda z: z, {"x": 1}) == ([1], {})

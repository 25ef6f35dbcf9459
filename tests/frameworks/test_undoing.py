"""What a call left in an object's attributes is put back, arrays in containers included."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from gradverify.frameworks.undoing import undo_attributes


def test_a_cache_of_arrays_filled_by_a_call_is_emptied_again() -> None:
    layer = SimpleNamespace(cache={"x": np.ones(3)}, seen={1}, calls=[np.zeros(2)], W=np.arange(3.0))
    undo = undo_attributes(layer)
    layer.cache.update(x=np.zeros(3), y=np.ones(2))
    layer.seen.add(2)
    layer.calls.append(np.ones(2))
    layer.W[:] = 7
    layer.extra = 1
    undo()
    assert list(layer.cache) == ["x"]
    np.testing.assert_array_equal(layer.cache["x"], np.ones(3))
    assert (layer.seen, len(layer.calls), hasattr(layer, "extra")) == ({1}, 1, False)
    np.testing.assert_array_equal(layer.W, np.arange(3.0))

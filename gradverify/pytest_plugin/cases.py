"""`gradverify.cases`: one test for many targets, dtypes and regimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradverify.records import Report

Targets = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class GradientCase:
    """A target with its inputs, the dtype they are to have and what is to become of their values.

    The conversion happens when the test asks: collecting a thousand cases converts none.
    """

    name: str
    target: Any
    given: tuple[Any, ...]
    dtype: str | None = None
    regime: str = "given"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def converted(self) -> tuple[Any, tuple[Any, ...]]:
        """The target and its inputs as this case wants them; the user's own stay as they are."""
        from gradverify.regimes.inputs import changed, in_dtype

        target, inputs = (self.target, self.given) if self.dtype is None else in_dtype(
            self.target, self.given, self.dtype)
        return target, changed(inputs, self.regime, int(self.options.get("seed", 0)))

    def check(self, **options: Any) -> Report:
        """`gradverify.check` of this case; the options given here win."""
        from gradverify.checking import check

        target, inputs = self.converted
        return check(target, *inputs, **{**self.options, **options})

    def assert_gradients(self, **options: Any) -> Report:
        """`gradverify.assert_gradients` of this case; the options given here win."""
        __tracebackhide__ = True
        from gradverify.checking import assert_gradients

        target, inputs = self.converted
        return assert_gradients(target, *inputs, **{**self.options, **options})

    def __str__(self) -> str:
        parts = (self.name, self.dtype, None if self.regime == "given" else self.regime)
        return "-".join(part for part in parts if part)


def cases(
    targets: Targets,
    *,
    dtypes: Sequence[str] | None = None,
    regimes: Sequence[str] = ("given",),
    name: str = "case",
    **options: Any,
) -> pytest.MarkDecorator:
    """Run a test once for every target, dtype and regime; it gets each as its argument `case`.

    A target stands as a tuple ``(target, *inputs)``, in a list or under a name in a dict. `dtypes`
    are names such as ``"float32"``; without them the inputs stay as they are. `regimes` put special
    values into the inputs (``zeros``, ``ties``, ``constant``, ``saturated``, ``tiny``, ``huge``) or lay
    them out differently (``fortran``, ``strided``). Options are those of `gradverify.check`.

        @gv.cases({"relu": (relu, x), "tanh": (tanh, x)}, dtypes=["float32", "float64"], regimes=["given", "zeros"])
        def test_gradient(gradverify, case):
            gradverify(case)
    """
    from gradverify.checking import make_options
    from gradverify.regimes.inputs import require_known

    make_options(options)
    require_known(dtypes, regimes)
    found = [GradientCase(label, target, inputs, dtype, regime, options)
             for label, target, inputs in _named(targets) for dtype in dtypes or (None,) for regime in regimes]
    return pytest.mark.parametrize(name, found, ids=str)


def _named(targets: Targets) -> list[tuple[str, Any, tuple[Any, ...]]]:
    from gradverify.targets.specs import name_of

    if not isinstance(targets, Mapping):
        rows = [_split(f"targets[{i}]", row) for i, row in enumerate(targets)]
        return [(getattr(target, "name", None) or name_of(target), target, inputs) for target, inputs in rows]
    return [(name, *_split(f"targets[{name!r}]", row)) for name, row in targets.items()]


def _split(where: str, row: Any) -> tuple[Any, tuple[Any, ...]]:
    if not isinstance(row, tuple) or len(row) < 2:
        raise TypeError(f"{where}: must be a tuple (target, *inputs)")
    return row[0], row[1:]

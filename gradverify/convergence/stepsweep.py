"""Error against step: why a difference quotient has a best step, and what it is here.

The forward difference errs by about ``t |phi''| / 2`` and the central one by ``t^2 |phi'''| / 6``, until the
rounding of phi, over t, takes over. Both are errors against the derivative on trial: from a wrong one they
keep its distance, whatever the step.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradverify.records import Curve, Figure


@dataclass(frozen=True)
class Sweep:
    """The remainders of first order along one leaf, as errors of the two difference quotients."""

    leaf: str
    steps: tuple[float, ...]
    left_over: tuple[float, ...]
    odd: tuple[float, ...]
    noise: float
    derivative: float

    @property
    def forward_error(self) -> tuple[float, ...]:
        """Of ``(phi(t) - phi(0)) / t``."""
        return self._over(self.left_over)

    @property
    def central_error(self) -> tuple[float, ...]:
        """Of ``(phi(t) - phi(-t)) / 2t``."""
        return self._over(self.odd)

    @property
    def floor(self) -> tuple[float, ...]:
        """What rounding leaves of either."""
        return self._over((self.noise,) * len(self.steps))

    @property
    def best(self) -> tuple[float, float]:
        """The step of the smallest central error, and that error."""
        return min(zip(self.steps, self.central_error, strict=True), key=lambda pair: pair[1])

    def _over(self, remainder: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(abs(r) / t for r, t in zip(remainder, self.steps, strict=True))


def sweep_figure(sweep: Sweep) -> Figure:
    """Both errors and the floor over the step."""
    curves = (Curve("forward difference", sweep.steps, sweep.forward_error),
              Curve("central difference", sweep.steps, sweep.central_error),
              Curve("rounding / t", sweep.steps, sweep.floor))
    return Figure(f"Differences against the derivative along {sweep.leaf}", "step t", "|error|", curves,
                  log_x=True, log_y=True)  # fmt: skip

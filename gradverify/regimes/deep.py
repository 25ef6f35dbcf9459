"""Other inputs than the user's, drawn and shrunk by Hypothesis: values, memory layouts and shapes.

Sizes that are equal in the inputs are one symbol and change together; now and then some of them
are set apart, since a square can hide a transposition. Which shapes mean something only the
forward knows: what it refuses is no example. Parameters inside an object keep their shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

from hypothesis import HealthCheck, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from gradverify.arrays import Arrays
from gradverify.regimes.special import LARGE, SPECIAL
from gradverify.regimes.variation import OWN, Variation, axes_of

# One, odd sizes, and the edges of tiles: powers of two and their neighbours; nothing at all comes last.
SIZES = (1, 2, 3, 5, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 0)
_KINDS = (OWN, *(kind for kind in SPECIAL if kind not in LARGE))


def variations(given: Arrays) -> st.SearchStrategy[Variation]:
    """Variations of these inputs; the simplest is the inputs' own shapes with values like theirs."""
    axes = axes_of(given)
    sizes = st.tuples(*(st.just(n) | st.sampled_from([k for k in SIZES if k != n]) for n in axes))
    tied = [i for i, places in enumerate(axes.values()) if len(places) > 1]
    most = max((len(places) for places in axes.values()), default=1)
    apart = st.tuples(st.sampled_from(tied or [0]), st.integers(1, 2**most - 2 or 1), st.sampled_from(SIZES))
    return st.builds(
        Variation, sizes=sizes, apart=st.none() | apart if tied else st.none(), kind=st.sampled_from(_KINDS),
        fortran=st.booleans(), seed=st.integers(0, 2**16 - 1),
    )  # fmt: skip


def find_failure(fails: Callable[[Variation], bool], given: Arrays, *, examples: int, seed: int) -> Variation | None:
    """The simplest variation of the inputs that fails, or None; the same seed tries the same ones."""
    quiet = settings(
        max_examples=examples, database=None, deadline=None, verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    # In a thread of its own Hypothesis may run inside a test that it drives itself.
    with ThreadPoolExecutor(max_workers=1) as pool:
        search = pool.submit(find, variations(given), fails, settings=quiet, random=Random(seed))
    try:
        return search.result()
    except NoSuchExample:
        return None

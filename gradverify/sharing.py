"""One function of many arguments, shared by processes of this machine or by a Dask cluster; results in their order.

In their order means that whoever stops at the first failure stops at the same one, however many share the work.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any


def each(
    function: Callable[[Any], Any], arguments: Sequence[Any], jobs: int = 1, dask: Any = None
) -> Generator[Any, None, None]:
    """``function(argument)`` for each argument; `function` and what goes through it must be picklable.

    `dask` is a scheduler's address or a client, and is asked before `jobs`. An exception of the function is raised
    where its result would have come; closing the generator drops what has not begun.

    >>> list(each(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    if dask is not None:
        # By name: Dask is imported where somebody asks for it, and only in `audit`.
        yield from import_module("gradverify.audit.cluster").each(function, arguments, dask)
    elif jobs == 1:
        yield from map(function, arguments)
    else:
        yield from _in_processes(function, arguments, jobs)


def _in_processes(
    function: Callable[[Any], Any], arguments: Sequence[Any], jobs: int
) -> Generator[Any, None, None]:
    # Ctrl-C reaches the whole terminal: the workers leave it to the parent.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        futures = [pool.submit(function, argument) for argument in arguments]
        yield from (future.result() for future in futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

"""Where sessions are read: in this process, in several here, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nsd_bench.errors import NsdBenchError

__all__ = ["Pool", "executor"]

_WORTH_A_PROCESS = 1 << 28
_RETRIES = 3


@dataclass(frozen=True)
class Pool:
    """Processes to read sessions with.

    Parameters
    ----------
    workers
        Processes on this machine. None takes as many as there are cores where that is worth it.
    scheduler
        Address of a Dask scheduler, whose workers see the same files; instead of `workers`.
    """

    workers: int | None = None
    scheduler: str | None = None


@contextlib.contextmanager
def executor(pool: Pool, paths: Sequence[Path]) -> Iterator[Executor | None]:
    """Give something to submit calls to, or None where they are best made here, one after another.

    Parameters
    ----------
    paths
        Files that will be read.
    pool
        What was asked for.

    Raises
    ------
    NsdBenchError
        If a scheduler is given, and Dask is not installed or does not answer.
    """
    if pool.scheduler is not None and paths:
        with _dask(pool.scheduler) as running_on:
            yield running_on
        return
    workers = pool.workers
    if workers is None:
        # Only compressed files are read whole, and keep a processor busy.
        n_bytes = sum(path.stat().st_size for path in paths if path.suffix == ".gz")
        workers = (os.cpu_count() or 1) if n_bytes > _WORTH_A_PROCESS else 1
    if min(workers, len(paths)) <= 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(paths)), mp_context=context) as processes:
        try:
            yield processes
        finally:
            processes.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise _no_scheduler(address, "Dask is not installed", "pip install nsd-bench[dask]") from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise _no_scheduler(
            address, f"does not answer ({error})", "check the address, as in tcp://host:8786"
        ) from error
    with client, client.get_executor(pure=False, retries=_RETRIES) as running_on:
        yield running_on


def _no_scheduler(address: str, problem: str, fix: str) -> NsdBenchError:
    return NsdBenchError(problem, place=f"scheduler {address}", expected="a running Dask scheduler", fix=fix)

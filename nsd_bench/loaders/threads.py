"""Do a batch's work in several threads: reading files and arithmetic on arrays both let others run."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

__all__ = ["Threads"]


class Threads:
    """As many threads as torch may use: one in a worker process, which has no need of more."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def __reduce__(self) -> tuple[type[Threads], tuple[()]]:
        return Threads, ()

    def over(self, n_items: int, work: Callable[[int, int], None]) -> None:
        """Call `work(start, stop)` on parts of `n_items`, at once."""
        n_parts = min(torch.get_num_threads(), n_items)
        if n_parts <= 1:
            work(0, n_items)
            return
        if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
            self._pool = ThreadPoolExecutor(torch.get_num_threads())
            self._process = os.getpid()
        ends = [n_items * part // n_parts for part in range(n_parts + 1)]
        parts = [self._pool.submit(work, *pair) for pair in zip(ends, ends[1:], strict=False)]
        for part in parts:
            part.result()

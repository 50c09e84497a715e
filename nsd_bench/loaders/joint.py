"""Loaders over several packages at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch.utils.data import DataLoader

from nsd_bench.loaders.batch import Batch

__all__ = ["JointLoader"]

Item = TypeVar("Item", bound=Batch)


class JointLoader:
    """Take turns over the loaders of several subjects until the longest is exhausted; the others restart.

    As LongCycler of neuralpredictors, which Sensorium's trainer uses.

    Parameters
    ----------
    loaders
        Data key to loader.

    Examples
    --------
    >>> loader = JointLoader({"1-1-0": ["a", "b", "c"], "2-1-0": ["d", "e"]})
    >>> [batch for _, batch in loader], len(loader)
    (['a', 'd', 'b', 'e', 'c', 'd'], 6)
    """

    def __init__(self, loaders: Mapping[str, DataLoader[Batch]]) -> None:
        self.loaders = dict(loaders)

    def __len__(self) -> int:
        return len(self.loaders) * max((len(loader) for loader in self.loaders.values()), default=0)

    def __iter__(self) -> Iterator[tuple[str, Batch]]:
        turns = {key: _endless(loader) for key, loader in self.loaders.items() if len(loader)}
        for _ in range(max((len(loader) for loader in self.loaders.values()), default=0)):
            for key, batches in turns.items():
                yield key, next(batches)


def _endless(loader: DataLoader[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader

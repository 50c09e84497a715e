"""Baselines: models to beat, each one command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nsd_bench.baselines.linear import fit_mean, fit_ridge
from nsd_bench.baselines.model import Model
from nsd_bench.package import Package

__all__ = ["BASELINES", "Model"]

BASELINES: Final[Mapping[str, Callable[[Package], Model]]] = {
    "mean": fit_mean,
    "gabor-ridge": fit_ridge,
}
"""Name to the function that fits it to a package; contract tests run over all of them."""

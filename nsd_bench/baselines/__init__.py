"""Baselines: models to beat, each one command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from nsd_bench.baselines.banded import fit_banded_ridge
from nsd_bench.baselines.cnn import fit_cnn, fit_cnns, fit_linear_cnn
from nsd_bench.baselines.fwrf import fit_fwrf
from nsd_bench.baselines.linear import (
    fit_features_ridge,
    fit_linear_gabor,
    fit_linear_pixels,
    fit_mean,
    fit_ridge,
)
from nsd_bench.baselines.model import Model
from nsd_bench.baselines.oracle import fit_repeat_oracle

__all__ = ["BASELINES", "TOGETHER", "Fit", "Model"]

Fit: TypeAlias = Callable[..., Model]
"""`fit(package, *, seed=0, **options)`; every option is a keyword with a default."""

BASELINES: Final[Mapping[str, Fit]] = {
    "mean": fit_mean,
    "linear-pixels": fit_linear_pixels,
    "linear-gabor": fit_linear_gabor,
    "linear-cnn": fit_linear_cnn,
    "gabor-ridge": fit_ridge,
    "fwrf": fit_fwrf,
    "features-ridge": fit_features_ridge,
    "banded-ridge": fit_banded_ridge,
    "cnn": fit_cnn,
    "repeat-oracle": fit_repeat_oracle,
}
"""Name to the function that fits it to a package; contract tests run over all of them."""

TOGETHER: Final[Mapping[str, Callable[..., Sequence[Model]]]] = {"cnn": fit_cnns}
"""Name to the function that fits one to several packages at once, `fit(packages, *, seed=0, **options)`."""

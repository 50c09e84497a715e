"""Banded ridge: a penalty per unit and band of features, by himalaya's random search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError, NsdBenchError
from nsd_bench.models.averaged import Scaling, image_means, in_blocks, validation_card
from nsd_bench.models.guard import fitting_view
from nsd_bench.models.linear import LinearModel, linear_model
from nsd_bench.models.selection import folds_by_image
from nsd_bench.models.sources import source_named
from nsd_bench.package.read import Package

__all__ = ["fit_banded_ridge"]

_ALPHAS: Final = np.logspace(-2, 5, 15)
"""Candidates, in units of the sum of k, which is the mean eigenvalue of standardised features."""


def fit_banded_ridge(
    package: Package,
    *,
    features: str | Path = "gabor",
    layers: str | Sequence[str] | None = None,
    n_iter: int = 50,
    n_folds: int = 5,
    backend: str = "numpy",
    seed: int = 0,
) -> LinearModel:
    """Fit a ridge regression per unit in which every band of features has a penalty of its own.

    Dupre la Tour, Eickenberg, Nunez-Elizalde & Gallant 2022, NeuroImage 264, by their code. Penalties are
    chosen by cross-validation over training images.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other; validation only says how good the fit is.
    features
        A folder that `nsd-bench features` wrote, each layer a band. Fixed features are one band.
    layers
        Of such a folder, a list or names with commas between them; None for all.
    n_iter
        Candidates of the random search.
    n_folds
        Folds over images.
    backend
        himalaya's: "numpy", "torch" or "torch_cuda".
    seed
        Of the search and the folds.

    Raises
    ------
    ModelError
        If there are no such features, or fewer than 3 images in either tier.
    NsdBenchError
        If himalaya is not installed.
    """
    view, source = fitting_view(package), source_named(features, layers)
    train, validation = image_means(view, "train"), image_means(view, "validation")
    bands, tested = (in_blocks(view, tier.rows, source.bands) for tier in (train, validation))
    groups = np.repeat(np.arange(len(bands)), [band.shape[1] for band in bands])
    x = np.concatenate(bands, axis=1)
    scaling = Scaling.of(x, train.k)
    root = np.sqrt(train.k).astype(np.float32)[:, None]
    mean = np.average(train.responses, axis=0, weights=train.k).astype(np.float32)
    folds = folds_by_image(np.arange(len(x)), n_folds, seed=seed)
    search = {"n_iter": n_iter, "alphas": _ALPHAS * float(train.k.sum())}
    y = (train.responses - mean) * root
    weights = _weights(scaling.apply(x) * root, y, groups, folds, search, backend, seed)
    fitted = linear_model(view, "banded-ridge", source, train, scaling, weights, mean)
    predicted = scaling.apply(np.concatenate(tested, axis=1)) @ weights + mean
    fitted.card.update(validation_card(view, validation, predicted))
    fitted.card.update({"selected_on": f"{n_folds} folds of train", "bands": len(bands)})
    return fitted


def _weights(
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    groups: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    search: dict[str, Any],
    backend: str,
    seed: int,
) -> npt.NDArray[np.float32]:
    """Return weights of shape (n_features, n_units); rows of x and y are weighted and centred."""
    from sklearn.model_selection import PredefinedSplit

    with _himalaya(backend) as himalaya:
        ridge = himalaya.ridge.GroupRidgeCV(
            groups=groups,
            solver="random_search",
            solver_params={**search, "progress_bar": False, "warn": False, "n_targets_batch": 1024},
            fit_intercept=False,
            cv=PredefinedSplit(folds),
            random_state=seed,
        )
        ridge.fit(x, y)
        return np.asarray(himalaya.backend.get_backend().to_numpy(ridge.coef_), dtype=np.float32)


@contextmanager
def _himalaya(backend: str) -> Iterator[Any]:
    """Give himalaya with one of its back ends, which it keeps in a global, and put the former one back."""
    try:
        himalaya: Any = import_module("himalaya")
        import_module("himalaya.ridge")
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "himalaya is not installed",
            place="banded ridge",
            expected="the extra with himalaya",
            fix="pip install 'nsd-bench[himalaya]'",
        ) from error
    former = himalaya.backend.get_backend().name
    try:
        himalaya.backend.set_backend(backend)
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"himalaya cannot use back end {backend!r} ({error})",
            place="banded ridge",
            expected="'numpy', 'torch' or 'torch_cuda'",
            fix="correct 'backend'",
        ) from error
    try:
        yield himalaya
    finally:
        himalaya.backend.set_backend(former)

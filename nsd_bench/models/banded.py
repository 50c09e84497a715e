"""Banded ridge: a penalty per unit and band of features, by himalaya's random search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError, NsdBenchError
from nsd_bench.models.checked import CheckedOptions, Within
from nsd_bench.models.feature_sources import source_named
from nsd_bench.models.guard import fitting_view
from nsd_bench.models.image_means import Scaling, image_means, in_blocks, validation_card
from nsd_bench.models.linear import LinearModel, linear_model
from nsd_bench.models.ridge import folds_by_image
from nsd_bench.package.read import Package

__all__ = ["BandedRidgeOptions", "fit_banded_ridge"]

_ALPHAS: Final = np.logspace(-2, 5, 15)
"""Candidates, in units of the sum of k, which is the mean eigenvalue of standardised features."""


@dataclass(frozen=True)
class BandedRidgeOptions(CheckedOptions):
    """Options of banded ridge.

    Parameters
    ----------
    features
        A folder that `nsd-bench features` wrote, each layer a band; or a key of
        `nsd_bench.models.image_features.FEATURES`, which is one band.
    layers
        Of such a folder, a list or names with commas between them; None for all.
    n_iter
        Candidates of the random search.
    n_folds
        Folds over training images, on which penalties are chosen.
    backend
        What himalaya computes with.
    seed
        Of the search, and of the order in which images are dealt into folds.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "banded-ridge"
    features: str | Path = "gabor"
    layers: str | Sequence[str] | None = None
    n_iter: Annotated[int, Within(1)] = 50
    n_folds: Annotated[int, Within(2)] = 5
    backend: Literal["numpy", "torch", "torch_cuda"] = "numpy"
    seed: Annotated[int, Within(0)] = 0


def fit_banded_ridge(
    package: Package, options: BandedRidgeOptions | None = None, **given: Any
) -> LinearModel:
    """Fit a ridge regression per unit in which every band of features has a penalty of its own.

    Dupre la Tour, Eickenberg, Nunez-Elizalde & Gallant 2022, NeuroImage 264, by their code. Penalties are
    chosen by cross-validation over training images.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other; validation only says how good the fit is.
    options, **given
        See `BandedRidgeOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are no such features, fewer than 3 images in either tier, or no such back end here.
    NsdBenchError
        If himalaya is not installed.
    """
    options = BandedRidgeOptions.of(options, given)
    view, source = fitting_view(package), source_named(options.features, options.layers)
    train, validation = image_means(view, "train"), image_means(view, "validation")
    bands, tested = (in_blocks(view, tier.rows, source.bands) for tier in (train, validation))
    groups = np.repeat(np.arange(len(bands)), [band.shape[1] for band in bands])
    x = np.concatenate(bands, axis=1)
    scaling = Scaling.of(x, train.k)
    root = np.sqrt(train.k).astype(np.float32)[:, None]
    mean = np.average(train.responses, axis=0, weights=train.k).astype(np.float32)
    folds = folds_by_image(np.arange(len(x)), options.n_folds, seed=options.seed)
    search = {"n_iter": options.n_iter, "alphas": _ALPHAS * float(train.k.sum())}
    y = (train.responses - mean) * root
    weights = _weights(scaling.apply(x) * root, y, groups, folds, search, options.backend, options.seed)
    predicted = scaling.apply(np.concatenate(tested, axis=1)) @ weights + mean
    figures = validation_card(view, validation, predicted)
    figures |= {"selected_on": f"{options.n_folds} folds of train", "bands": len(bands)}
    return linear_model(view, "banded-ridge", source, train, scaling, weights, mean, figures)


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
            expected="a back end whose library and device are here",
            fix="give 'numpy', or install what it needs",
        ) from error
    try:
        yield himalaya
    finally:
        himalaya.backend.set_backend(former)

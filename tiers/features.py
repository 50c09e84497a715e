"""Columns for tier rules that come from image features: clusters, and distance to the training images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.cluster import KMeans

from nsd_bench.errors import TierError
from nsd_bench.inputs import reading
from nsd_bench.package.storage import read_npy
from tiers.audit.similarity import nearest, unit_length

__all__ = ["N_CLUSTERS", "read_features", "with_feature_columns"]

N_CLUSTERS = 40
_LEVELS = ("near", "mid", "far")


def read_features(path: Path) -> npt.NDArray[np.floating[Any]]:
    """Map a .npy of features into memory.

    Parameters
    ----------
    path
        A .npy of shape (73000, n_features), row i for nsd_id i.

    Returns
    -------
    features : array
        Of whatever shape the file has; see `with_feature_columns` for what it must be.

    Raises
    ------
    TierError
        If it is none.
    """
    refusal = partial(
        TierError,
        place=str(path),
        expected="an array of shape (73000, n_features), row i for nsd_id i",
        fix="check the path, or save it with numpy.save",
    )
    with reading(path, refusal, "not a .npy of features"):
        return read_npy(path, mapped=True)


def with_feature_columns(
    design: pd.DataFrame, features: npt.NDArray[np.floating[Any]], n_clusters: int = N_CLUSTERS
) -> pd.DataFrame:
    """Add `cluster`, `distance` and `difficulty` of every trial's image.

    Parameters
    ----------
    design
        See `tiers.design.read_design_table`; must have `shared1000`.
    features : array of shape (73000, n_features)
        Row i describes nsd_id i.
    n_clusters
        Of k-means on the images of the design; clusters are numbered by size, the largest is 0.

    Returns
    -------
    design
        With `cluster`; `distance`, of a shared image from the nearest image that is not shared, NaN for the
        others; and `difficulty`, the third of the shared images by that distance: "near", "mid", "far", or
        "none".

    Raises
    ------
    TierError
        If there are too few features or images.
    """
    nsd_id, first, image = np.unique(design["nsd_id"], return_index=True, return_inverse=True)
    shared = design["shared1000"].to_numpy(bool)[first]
    if features.ndim != 2 or len(features) <= nsd_id.max() or len(nsd_id) < n_clusters or shared.all():
        raise TierError(
            f"features of shape {features.shape} for {len(nsd_id)} images, {shared.sum()} of them shared",
            place="features",
            expected=f"a row for every nsd_id up to {nsd_id.max()}; {n_clusters} images, some not shared",
            fix="give an array whose row i describes nsd_id i",
        )
    described = unit_length(np.asarray(features[nsd_id], dtype=np.float32))
    distance = np.full(len(nsd_id), np.nan)
    distance[shared] = nearest(described[shared], described[~shared]).distance
    difficulty = np.full(len(nsd_id), "none", dtype="<U4")
    order = np.flatnonzero(shared)[np.argsort(distance[shared], kind="stable")]
    for level, members in zip(_LEVELS, np.array_split(order, len(_LEVELS)), strict=True):
        difficulty[members] = level
    return design.assign(
        cluster=_clusters(described, n_clusters)[image],
        distance=distance[image],
        difficulty=difficulty[image],
    )


def _clusters(features: npt.NDArray[np.float32], n_clusters: int) -> npt.NDArray[np.int64]:
    found = KMeans(n_clusters, random_state=0, n_init=1).fit_predict(features)
    by_size = np.argsort(-np.bincount(found, minlength=n_clusters), kind="stable")
    rank = np.empty(n_clusters, dtype=np.int64)
    rank[by_size] = np.arange(n_clusters)
    return np.asarray(rank[found], dtype=np.int64)

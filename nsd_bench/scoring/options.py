"""How scores and their uncertainty are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsd_bench.scoring.moments import Product

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """How uncertainty is computed.

    Parameters
    ----------
    n_draws
        Bootstrap draws over images, and permutations of the null; 0 leaves out intervals and null.
    seed
        Of both.
    confidence
        Of the intervals.
    patterns
        Whether to score identification, retrieval and RSA, too: a minute for 50 regions and 1,000 images.
    product
        What multiplies matrices in float64: numpy, or `nsd_bench.loaders.products.product_on(device)`.
    """

    n_draws: int = 1000
    seed: int = 0
    confidence: float = 0.95
    patterns: bool = False
    product: Product = np.matmul

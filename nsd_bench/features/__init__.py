"""Features of images from any torch network: extracted once, kept in float16, shared by all subjects."""

from __future__ import annotations

from nsd_bench.features.extract import extract
from nsd_bench.features.networks import Network, load_network
from nsd_bench.features.reduction import Reduction
from nsd_bench.features.store import FeatureStore

__all__ = ["FeatureStore", "Network", "Reduction", "extract", "load_network"]

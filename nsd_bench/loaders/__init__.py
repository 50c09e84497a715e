"""Load packages: DataLoaders of images and standardised responses."""

from nsd_bench.loaders.opened import OpenPackage, open

__all__ = ["OpenPackage", "open"]

"""Load packages: DataLoaders of images and standardised responses."""

from typing import TYPE_CHECKING

from nsd_bench.loaders.opened import OpenPackage, joint_dataloaders, open

if TYPE_CHECKING:
    from nsd_bench.loaders.dataloaders import JointLoader
    from nsd_bench.loaders.sensorium import static_loaders

__all__ = ["JointLoader", "OpenPackage", "joint_dataloaders", "open", "static_loaders"]

_HOME = {"JointLoader": "dataloaders", "static_loaders": "sensorium"}


def __getattr__(name: str) -> object:
    # Imported on first use, so that opening a package needs no torch.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"nsd_bench.loaders.{_HOME[name]}"), name)
    message = f"module 'nsd_bench.loaders' has no attribute {name!r}"
    raise AttributeError(message)

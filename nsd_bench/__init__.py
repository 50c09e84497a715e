"""The Natural Scenes Dataset as a fixed benchmark: export, train, submit, score."""

import importlib

__all__ = ["open", "write_package"]

__version__ = "0.2.0"

_HOME = {"open": "nsd_bench.loaders", "write_package": "nsd_bench.package.assemble"}


def __getattr__(name: str) -> object:
    # Imported on first use, so that `import nsd_bench` needs neither torch nor pandas.
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    message = f"module 'nsd_bench' has no attribute {name!r}"
    raise AttributeError(message)

"""The Natural Scenes Dataset as a fixed benchmark: open a package, train on it, submit, score, report.

>>> import nsd_bench
>>> package = nsd_bench.open("packages/nsd-subj01.zip")  # doctest: +SKIP
>>> model = nsd_bench.train(package, "gabor-ridge")  # doctest: +SKIP
"""

import importlib

__version__ = "0.2.0"

_HOME = {
    "Comparison": ("nsd_bench.scoring.compare", "Comparison"),
    "Package": ("nsd_bench.loaders.opened", "OpenPackage"),
    "Scores": ("nsd_bench.scoring.scores", "Scores"),
    "Submission": ("nsd_bench.package.submission", "Submission"),
    "compare": ("nsd_bench.scoring.compare", "compare"),
    "open": ("nsd_bench.loaders.opened", "open"),
    "report": ("nsd_bench.reports", "report"),
    "score": ("nsd_bench.scoring.score", "score"),
    "train": ("nsd_bench.models.zoo", "train"),
    "write_package": ("nsd_bench.package.assemble", "write_package"),
}
"""Name to where it lies, and what it is called there; `__init__.pyi` tells type checkers the same."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    # Imported on first use, so that `import nsd_bench` needs neither torch nor pandas.
    if name in _HOME:
        module, there = _HOME[name]
        return getattr(importlib.import_module(module), there)
    message = f"module 'nsd_bench' has no attribute {name!r}; it offers {', '.join(__all__)}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The flattened cortex: where vertices lie on it, pictures of what they hold, and pages of them.

`draw`, `view` and `DrawingOptions` do what the commands flatmap and view do; `load` and `FlatMap` read data
sets that 'nsd-bench export-flat' wrote, and `view_flat` shows them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsd_bench.cortex.cortex_page import view as view
    from nsd_bench.cortex.drawing import draw as draw
    from nsd_bench.cortex.drawing import make_easels as make_easels
    from nsd_bench.cortex.drawing_options import DrawingOptions as DrawingOptions
    from nsd_bench.cortex.flat import FlatMap as FlatMap
    from nsd_bench.cortex.flat import load as load
    from nsd_bench.cortex.flat_page import view_flat as view_flat
    from nsd_bench.cortex.maps import wanted_maps as wanted_maps

_HOME = {
    "DrawingOptions": "drawing_options",
    "FlatMap": "flat",
    "draw": "drawing",
    "load": "flat",
    "make_easels": "drawing",
    "view": "cortex_page",
    "view_flat": "flat_page",
    "wanted_maps": "maps",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    # Imported on first use: most of the room needs no matplotlib.
    if name in _HOME:
        return getattr(importlib.import_module(f"nsd_bench.cortex.{_HOME[name]}"), name)
    message = f"module 'nsd_bench.cortex' has no attribute {name!r}"
    raise AttributeError(message)

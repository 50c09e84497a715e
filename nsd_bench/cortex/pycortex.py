"""The same pixels from pycortex itself, in a filestore of its own that is gone afterwards."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from nsd_bench.cortex.canvas import HEIGHT, Canvas, nudged
from nsd_bench.cortex.flat import needed
from nsd_bench.cortex.geometry import FlatGeometry

__all__ = ["pycortex_canvas", "temporary_store"]


def pycortex_canvas(flat: FlatGeometry, height: int = HEIGHT) -> Canvas:
    """Let pycortex say which vertex every pixel shows.

    Nothing is written into pycortex's own filestore, nor into the home folder.

    Parameters
    ----------
    flat
        The flat map.
    height
        Number of rows.

    Raises
    ------
    NsdBenchError
        If pycortex is not installed.
    """
    with temporary_store() as (cortex, store):
        subject = _write_subject(cortex, store, flat)
        numbers = cortex.Vertex(np.arange(len(flat), dtype=np.float64), subject)
        picture, (left, right, bottom, top) = cortex.quickflat.make_flatmap_image(numbers, height=height)
    mask = np.isfinite(picture)
    extent = float(left), float(right), float(bottom), float(top)
    return Canvas(mask, picture[mask].astype(np.int64), extent, nudged(flat))


@contextlib.contextmanager
def temporary_store() -> Iterator[tuple[Any, Path]]:
    """Give pycortex and an empty filestore that it uses until the block ends; it prints nothing in between.

    Raises
    ------
    NsdBenchError
        If pycortex is not installed.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        store = Path(folder) / "store"
        cortex = _import_with(store, Path(folder) / "settings")
        with mock.patch.multiple(cortex.db, filestore=str(store), _subjects=None):
            yield cortex, store


def _import_with(store: Path, settings: Path) -> Any:
    """Import pycortex, its settings in a folder that will go: it writes them on its first import."""
    (settings / "pycortex").mkdir(parents=True)
    (settings / "pycortex/options.cfg").write_text(f"[basic]\nfilestore = {store}\n")
    store.mkdir()
    homes = {"XDG_CONFIG_HOME": str(settings), "XDG_DATA_HOME": str(settings)}
    with mock.patch.dict(os.environ, homes), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return needed("cortex", "pycortex", "--engine pycortex")


def _write_subject(cortex: Any, store: Path, flat: FlatGeometry) -> str:
    """Write the surfaces that pycortex asks for; it counts vertices on the white one only."""
    # pycortex remembers surfaces by their subject's name for as long as the process lives.
    subject = f"flat{sha256(flat.points.tobytes() + flat.triangles.tobytes()).hexdigest()[:16]}"
    for kind in ("surfaces", "transforms", "anatomicals"):
        (store / subject / kind).mkdir(parents=True)
    points = np.zeros((len(flat), 3), dtype=np.float32)
    points[flat.on_map, :2] = nudged(flat)[flat.on_map]
    n_left = flat.n_vertices[0]
    is_left = flat.triangles[:, 0] < n_left
    sides = {
        "lh": (points[:n_left], flat.triangles[is_left]),
        "rh": (points[n_left:], flat.triangles[~is_left] - n_left),
    }
    for side, (pts, polys) in sides.items():
        for kind in ("flat", "wm"):
            file = store / subject / f"surfaces/{kind}_{side}.gii"
            cortex.formats.write_gii(str(file), pts=pts, polys=polys.astype(np.int32))
    return subject

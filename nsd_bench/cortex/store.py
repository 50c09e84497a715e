"""pycortex's store: where it looks for a subject's files, and pycortex itself with a store of one's own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import numpy.typing as npt

from nsd_bench.cortex.canvas import HEIGHT, Canvas, nudged
from nsd_bench.cortex.flat import needed
from nsd_bench.cortex.geometry import FlatGeometry
from nsd_bench.cortex.surfaces import HEMISPHERES, read_mesh
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, SourceError, choices
from nsd_bench.outputs import new_file

__all__ = [
    "FOLDERS",
    "PAGE_HEIGHT",
    "SURFACES",
    "FlatMesh",
    "PycortexSubject",
    "open_store",
    "pycortex_canvas",
    "read_flat_mesh",
    "temporary_store",
]

SURFACES: Final = ("flat", "inflated", "pia", "wm")
"""Surfaces that every subject has, of both hemispheres."""
FOLDERS: Final = ("anatomicals", "cache", "surface-info", "surfaces", "transforms", "views")


@dataclass(frozen=True)
class PycortexSubject:
    """Paths of one subject's files.

    Parameters
    ----------
    store
        Folder that holds the subjects: pycortex's "filestore".
    name
        Of the subject: letters, digits, "_" and "-".

    Raises
    ------
    OptionError
        If the name could not be a folder's.

    Examples
    --------
    >>> PycortexSubject(Path("db"), "subj01").surface("flat", "lh").as_posix()
    'db/subj01/surfaces/flat_lh.gii'
    """

    store: Path
    name: str

    def __post_init__(self) -> None:
        _check_name(self.name, self.store)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> PycortexSubject:
        """Take a subject by its own folder.

        Parameters
        ----------
        path
            The subject's folder.
        """
        folder = Path(path)
        return cls(folder.parent, folder.name)

    @classmethod
    def of_surface(cls, surface: str | os.PathLike[str]) -> PycortexSubject:
        """Take the subject that a surface is.

        Parameters
        ----------
        surface
            As of `nsd_bench.cortex.surfaces.read_flat`.

        Raises
        ------
        OptionError
            If it is no folder: neither fsaverage5 nor two files have transforms or a drawing.
        """
        if Path(surface).is_dir():
            return cls.at(surface)
        raise OptionError(
            f"the surface {os.fspath(surface)!r} is no pycortex subject",
            place="flat map",
            expected="the folder of one: only these have transforms and drawings",
            fix="give --surface STORE/SUBJECT, or leave --transform and 'overlays' out",
        )

    @property
    def path(self) -> Path:
        """The subject's folder."""
        return self.store / self.name

    def require(self) -> PycortexSubject:
        """Return the subject itself if its folder is there.

        Raises
        ------
        OptionError
            If it is not; names the subjects that there are.
        """
        if self.path.is_dir():
            return self
        known = sorted(path.parent.name for path in self.store.glob("*/surfaces"))
        raise OptionError(
            f"there is no subject {self.name!r}",
            place=str(self.store),
            expected=choices(self.name, known) if known else "a folder with pycortex subjects",
            fix="correct --store or the name; 'nsd-bench cortex build' and 'import' make subjects",
        )

    def surface(self, kind: str, hemisphere: str) -> Path:
        """One of `SURFACES` of one hemisphere, GIFTI.

        Parameters
        ----------
        kind
            One of `SURFACES`.
        hemisphere
            "lh" or "rh".
        """
        return self.path / f"surfaces/{kind}_{hemisphere}.gii"

    def info(self, kind: str) -> Path:
        """One value a vertex: "curvature", "sulcaldepth", "thickness"; signs opposite to FreeSurfer's.

        Parameters
        ----------
        kind
            What the values are.
        """
        return self.path / f"surface-info/{kind}.npz"

    @property
    def anatomy(self) -> Path:
        """The anatomical volume that the surfaces were made from."""
        return self.path / "anatomicals/raw.nii.gz"

    def require_anatomy(self) -> Path:
        """Return the anatomical volume if it is there.

        Raises
        ------
        SourceError
            If it is not.
        """
        if self.anatomy.is_file():
            return self.anatomy
        raise SourceError(
            "there is no such file",
            place=str(self.anatomy),
            expected="the anatomical volume that the surfaces were made from",
            fix="build the subject again with 'nsd-bench cortex build', or copy the volume there",
        )

    @property
    def drawing(self) -> Path:
        """Outlines of regions."""
        return self.path / "overlays.svg"

    def transform(self, name: str) -> Path:
        """Folder of a transform from the surfaces to a functional grid.

        Parameters
        ----------
        name
            Of the transform; it need not be there.

        Raises
        ------
        OptionError
            If the name could not be a folder's.
        """
        _check_name(name, self.path / "transforms")
        return self.path / "transforms" / name

    def require_transform(self, name: str) -> Path:
        """Return the folder of a transform that is there.

        Parameters
        ----------
        name
            Of the transform.

        Raises
        ------
        OptionError
            If it is not; names the transforms that there are.
        """
        path, known = self.require().transform(name), self.transforms
        if path.is_dir():
            return path
        raise OptionError(
            f"there is no transform {name!r}",
            place=str(self.path),
            expected=choices(name, known) if known else "a transform to a functional grid",
            fix="correct the name, or add it with 'nsd-bench cortex transform'",
        )

    @property
    def transforms(self) -> list[str]:
        """Names of the transforms that there are."""
        return sorted(child.name for child in self.path.glob("transforms/*") if child.is_dir())


def _check_name(name: str, place: Path) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][\w-]*", name, re.ASCII):
        raise OptionError(
            f"{name!r} cannot be the name of a subject or a transform",
            place=str(place),
            expected="letters, digits, '_' and '-'",
            fix="give a name such as subj01",
        )


def open_store(store: str | os.PathLike[str], settings: str | os.PathLike[str]) -> Any:
    """Import pycortex so that it reads and writes `store` and nothing else.

    pycortex takes the place of its data from a file that it reads when it is imported; without one it uses
    a folder that was fixed when it was built, be it another environment's.

    Parameters
    ----------
    store
        Folder that holds the subjects.
    settings
        Folder in which pycortex keeps its settings; nothing is written to the home folder.

    Returns
    -------
    cortex
        The module.

    Raises
    ------
    NsdBenchError
        If pycortex is not installed, or was imported before with another store.
    OutputError
        If `settings` holds other settings already.
    """
    place, home = Path(store).resolve(), Path(settings).resolve()
    loaded = sys.modules.get("cortex")
    if loaded is None:
        loaded = _import(place, home)
    used = Path(loaded.database.default_filestore).resolve()
    if used != place:
        raise NsdBenchError(
            f"pycortex was imported before and uses {used}",
            place=str(place),
            expected="one store in each process",
            fix="start a new process, and call open_store before anything imports cortex",
        )
    return loaded


def _import(store: Path, settings: Path) -> Any:
    _write_settings(settings / "pycortex/options.cfg", store)
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(settings)
    try:
        return import_module("cortex")
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "pycortex is not installed",
            place=str(store),
            expected="the extra that brings pycortex",
            fix="pip install 'nsd-bench[pycortex]', or draw with 'nsd-bench flatmap', which needs none",
        ) from error
    finally:
        if before is None:
            del os.environ["XDG_CONFIG_HOME"]
        else:
            os.environ["XDG_CONFIG_HOME"] = before


def _write_settings(path: Path, store: Path) -> None:
    """Name the store, and this environment's colour maps: those that pycortex was built with may be gone."""
    colours = Path(sys.prefix) / "share/pycortex/colormaps"
    text = f"[basic]\nfilestore = {store}\n"
    text += f"\n[webgl]\ncolormaps = {colours}\n" if colours.is_dir() else ""
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise OutputError(
            "holds other settings",
            place=str(path),
            expected="a settings folder of this store alone",
            fix="give an empty folder; one's own settings are never changed",
        )
    with new_file(path) as file:
        file.write(text.encode())


PAGE_HEIGHT: Final = 1024
"""Of a drawing, in its units, which are also pixels of what is drawn on."""


@dataclass(frozen=True)
class FlatMesh:
    """Both hemispheres of a subject's flat map, side by side.

    Parameters
    ----------
    points : float64 array of shape (n_vertices, 2)
        In mm: the left hemisphere ends at x = 0 and the right one begins there, as pycortex has it.
    triangles : int64 array of shape (n_triangles, 3)
    """

    points: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]

    def on_page(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn mm into the units of the drawing, which is 1024 high and counts y downwards.

        Parameters
        ----------
        points : float64 array of shape (n_points, 2)
            x and y in mm of the flat map.

        Returns
        -------
        places : float64 array of shape (n_points, 2)
            From the upper left corner of the page.
        """
        corner = self.points.min(axis=0)
        scale = PAGE_HEIGHT / (self.points[:, 1].max() - corner[1])
        across, along = ((points - corner) * scale).T
        return np.stack([across, PAGE_HEIGHT - along], axis=1)

    @property
    def page_width(self) -> float:
        """Width of the drawing in its units."""
        return float(self.on_page(self.points)[:, 0].max())


def read_flat_mesh(subject: PycortexSubject) -> FlatMesh:
    """Read a subject's flat map.

    Parameters
    ----------
    subject
        Whose flat map.

    Raises
    ------
    OptionError
        If there is no such subject.
    SourceError
        If a hemisphere is missing or damaged.
    """
    (left, left_triangles), (right, right_triangles) = (
        read_mesh(subject.require().surface("flat", side)) for side in HEMISPHERES
    )
    left[:, 0] -= left[:, 0].max()
    right[:, 0] -= right[:, 0].min()
    triangles = np.concatenate([left_triangles, right_triangles + len(left)])
    return FlatMesh(np.concatenate([left, right])[:, :2], triangles)


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

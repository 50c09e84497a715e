"""What of NSD lies below a folder: for whom, whether it is whole, and what can be exported from it.

No large file is read to its end: what a header promises is compared with the size of the file, or with the
size that the end of a .gz says; of HDF5 the first and the last value are read.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import scipy.io

from exporters.nsd.behaviour import read_responses_table
from exporters.nsd.design import read_design, read_stimulus_table
from exporters.nsd.layout import SESSIONS, Layout
from exporters.nsd.surfaces import MGH_DATA_OFFSET, read_mgh_header
from exporters.nsd.volumes import load_nifti
from exporters.packages.plan import planned_files
from exporters.packages.recipe import known_recipes, load_recipe
from nsd_bench.errors import NsdBenchError, SourceError

__all__ = ["Available", "Damage", "Needs", "RootCheck", "check_root", "read_listing"]

_FOLDERS: Final = ("nsddata", "nsddata_betas", "nsddata_stimuli")
_BETAS: Final = re.compile(
    r"nsddata_betas/ppdata/subj(0[1-8])/([^/]+)/([^/]+)/(?:(lh|rh)\.)?betas_session(\d\d)\.(hdf5|nii\.gz|mgh)"
)
_LISTED: Final = re.compile(r"\s*\d{4}-\d\d-\d\d +\d\d:\d\d:\d\d +(\d+) +(\S.*)")
_TYPICAL_BYTES: Final = (
    (r"/func1pt8mm/.*/betas_session\d\d\.hdf5", 1_000_000_000),
    (r"/func1pt8mm/.*/betas_session\d\d\.nii\.gz", 450_000_000),
    (r"/func1mm/.*/betas_session\d\d\.(hdf5|nii\.gz)", 2_600_000_000),
    (r"/fsaverage/.*betas_session\d\d\.mgh", 491_526_284),
    (r"/nativesurface/.*betas_session\d\d\.hdf5", 340_000_000),
    (r"nsd_stimuli\.hdf5", 39_560_000_000),
    (r"nsd_stim_info_merged\.csv", 11_000_000),
    (r"ncsnr\.", 1_100_000),
)
"""What NSD's large files measure, give or take a fifth: subjects' brains differ in size."""
_SMALL_BYTES: Final = 100_000
_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True)
class Available:
    """Betas of one subject in one space, version and format.

    Parameters
    ----------
    subject, space, version, format
        Such as 1, "func1pt8mm", "betas_fithrf_GLMdenoise_RR", "hdf5".
    sessions
        Those that are there, both hemispheres' files if there are two; ascending.
    n_released
        How many sessions NSD has of the subject.
    """

    subject: int
    space: str
    version: str
    format: str
    sessions: tuple[int, ...]
    n_released: int


@dataclass(frozen=True, order=True)
class Damage:
    """A file that is not whole.

    Parameters
    ----------
    name
        Path below NSD's root.
    problem
        What is wrong with it.
    """

    name: str
    problem: str


@dataclass(frozen=True)
class Needs:
    """What a shipped recipe still needs for one subject.

    Parameters
    ----------
    recipe, subject
        Such as "default", 1.
    n_files, n_missing
        How many files it reads, and how many of these are not there or damaged.
    n_bytes
        What is missing, in bytes: as listed, else what such files usually measure.
    """

    recipe: str
    subject: int
    n_files: int
    n_missing: int
    n_bytes: int


@dataclass(frozen=True)
class RootCheck:
    """What lies below a root of NSD.

    Parameters
    ----------
    n_files
        How many files were looked at.
    available
        Betas, by subject, space, version and format.
    damaged
        Files that are not whole.
    needs
        Every shipped recipe for every subject.
    """

    n_files: int
    available: Sequence[Available]
    damaged: Sequence[Damage]
    needs: Sequence[Needs]

    def as_json(self) -> dict[str, Any]:
        """Return all of it, as `nsd-bench check --out` writes it."""
        return {"format": "nsd_bench.root_check/1", **asdict(self)}


def read_listing(path: Path) -> dict[str, int]:
    """Read what `aws s3 ls --recursive` printed of the bucket: name to size in bytes.

    Parameters
    ----------
    path
        The listing.

    Raises
    ------
    SourceError
        If it cannot be read, or lists nothing of NSD.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise _no_listing(path, f"cannot be read ({error.strerror})") from error
    sizes = {found[2].strip(): int(found[1]) for line in lines if (found := _LISTED.fullmatch(line))}
    sizes = {name: size for name, size in sizes.items() if name.startswith(_FOLDERS)}
    if not sizes:
        raise _no_listing(path, "lists no file of NSD")
    return sizes


def _no_listing(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected="lines such as '2021-09-01 12:00:00  451203938 nsddata_betas/ppdata/...'",
        fix=f"aws s3 ls --no-sign-request --recursive s3://natural-scenes-dataset/nsddata > {path.name}, "
        "and the same for nsddata_betas and nsddata_stimuli",
    )


def check_root(
    nsd_root: Path, subjects: Sequence[int] | None = None, listing: Mapping[str, int] | None = None
) -> RootCheck:
    """Look at all of NSD's files below a folder.

    Parameters
    ----------
    nsd_root
        Folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`, or some of them.
    subjects
        Those to report on; None for all eight.
    listing
        Name to size in bytes, see `read_listing`; None compares no sizes.

    Raises
    ------
    SourceError
        If nothing of NSD is there.
    """
    root, wanted = Path(nsd_root), tuple(subjects or SESSIONS)
    names = sorted(_names(root))
    if not names:
        raise SourceError(
            "holds none of NSD's folders",
            place=str(root),
            expected=f"a folder with {', '.join(_FOLDERS)}, as NSD's bucket has them",
            fix="give the folder above nsddata; 'nsd-bench plan default --nsd-root ROOT --missing' prints "
            "what fetches NSD, 'nsd-bench simulate ROOT' makes a small one",
        )
    names = [name for name in names if not (of := re.search(r"/subj0([1-8])/", name)) or int(of[1]) in wanted]
    damaged = [Damage(name, why) for name in names if (why := _problem(root, name, listing or {}))]
    broken = {one.name for one in damaged}
    return RootCheck(
        len(names),
        list(_available([name for name in names if name not in broken])),
        damaged,
        list(_needs(root, wanted, broken, listing or {})),
    )


def _names(root: Path) -> Iterator[str]:
    for folder in _FOLDERS:
        for path in (root / folder).rglob("*"):
            if path.is_file() and not path.name.startswith("."):  # macOS puts ._* beside every file
                yield path.relative_to(root).as_posix()


def _problem(root: Path, name: str, listing: Mapping[str, int]) -> str | None:
    """Say what is wrong with a file; None if nothing that can be told without reading it all."""
    path = root / name
    n_bytes = path.stat().st_size
    if not n_bytes:
        return "is empty"
    if listing.get(name, n_bytes) != n_bytes:
        return f"has {n_bytes:,} bytes, NSD's {listing[name]:,}"
    try:
        return _unlike_its_header(path, n_bytes)
    except NsdBenchError as error:
        return str(error).splitlines()[0].split(": ", 1)[-1]
    except Exception as error:  # whatever a library says of a file that is none of its kind
        return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})"


def _unlike_its_header(path: Path, n_bytes: int) -> str | None:
    suffix = "".join(path.suffixes[-2:])
    if path.suffix == ".mat":
        scipy.io.loadmat(path)  # small, and cut ones are found by reading alone
        if path.name == "nsd_expdesign.mat":
            read_design(path)
    elif path.name == "nsd_stim_info_merged.csv":
        read_stimulus_table(path)
    elif path.name == "responses.tsv":
        read_responses_table(path, int(path.parts[-3].removeprefix("subj")))
    elif path.suffix in {".hdf5", ".h5"}:
        _read_ends(path)
    elif suffix.endswith(".nii.gz"):
        image = load_nifti(path)
        n_values = int(np.prod(image.shape, dtype=np.int64))
        return _cut(path, image.dataobj.offset + n_values * image.get_data_dtype().itemsize)
    elif path.suffix == ".nii":
        image = load_nifti(path)
        n_values = int(np.prod(image.shape, dtype=np.int64))
        return _short(n_bytes, image.dataobj.offset + n_values * image.get_data_dtype().itemsize)
    elif path.suffix == ".mgh":
        header = read_mgh_header(path)
        size = int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize
        return _short(n_bytes, MGH_DATA_OFFSET + size)
    elif path.suffix in {".mgz", ".gz"}:
        with gzip.open(path) as file:
            file.read(1)
    return None


def _cut(path: Path, expected: int) -> str | None:
    """Compare what the end of a .gz says was packed, modulo 4 GiB, with what must have been."""
    with path.open("rb") as file:
        if file.read(2) != _GZIP_MAGIC:
            return "is no gzip file"
        file.seek(-4, 2)
        (packed,) = struct.unpack("<I", file.read(4))
    if packed != expected % 2**32:
        return f"ends early, or holds other data than its header says ({expected:,} bytes)"
    return None


def _short(n_bytes: int, expected: int) -> str | None:
    return f"ends early: {n_bytes:,} of {expected:,} bytes" if n_bytes < expected else None


def _read_ends(path: Path) -> None:
    """Read the first and the last value of every data set."""
    with h5py.File(path, "r") as file:
        for dataset in file.values():
            if isinstance(dataset, h5py.Dataset) and dataset.size:
                _ = dataset[(0,) * dataset.ndim], dataset[tuple(n - 1 for n in dataset.shape)]


def _available(names: Iterable[str]) -> Iterator[Available]:
    found: dict[tuple[int, str, str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        if match := _BETAS.fullmatch(name):
            subject, space, version, hemisphere, session, suffix = match.groups()
            found[int(subject), space, version, suffix][int(session)].add(hemisphere or "both")
    for (subject, space, version, suffix), sessions in sorted(found.items()):
        whole = tuple(n for n, halves in sorted(sessions.items()) if halves != {"lh"} and halves != {"rh"})
        yield Available(subject, space, version, suffix, whole, SESSIONS[subject])


def _needs(
    root: Path, subjects: Sequence[int], broken: set[str], listing: Mapping[str, int]
) -> Iterator[Needs]:
    for name in known_recipes():
        for subject in subjects:
            recipe = load_recipe(name, subjects=(subject,))
            if Layout(root).responses_table(subject).relative_to(root).as_posix() in broken:
                recipe = recipe.model_copy(update={"sessions": tuple(range(1, SESSIONS[subject] + 1))})
            files = list(planned_files(recipe, root))
            missing = [file.name for file in files if file.n_bytes is None or file.name in broken]
            n_bytes = sum(listing.get(one) or _typical_bytes(one) for one in missing)
            yield Needs(name, subject, len(files), len(missing), n_bytes)


def _typical_bytes(name: str) -> int:
    return next((size for pattern, size in _TYPICAL_BYTES if re.search(pattern, name)), _SMALL_BYTES)

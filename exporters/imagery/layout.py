"""The cache layout, where a project of its own keeps NSD-Imagery: paths, folders and checksums."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsd_bench.errors import OutputError
from nsd_bench.imagery.index import INDEX_FOLDER, read_index
from nsd_bench.outputs import new_file
from nsd_bench.package.storage import sha256_file

__all__ = [
    "CHECKSUMS",
    "CacheLayout",
    "changed_files",
    "init_layout",
    "subject_name",
    "subject_number",
    "write_checksums",
]

_FOLDERS: Final = (
    "nsd_imagery/betas",
    "nsd_imagery/stimuli",
    "nsd_imagery/metadata",
    "nsd_hdf5",
    "clip_embeddings/imagery_cache",
    INDEX_FOLDER,
    "indices/perception",
)


def subject_name(subject: int) -> str:
    """Return how paths and indices call a subject.

    Parameters
    ----------
    subject
        1 to 8.

    Examples
    --------
    >>> subject_name(3)
    'subj03'
    """
    return f"subj{subject:02}"


def subject_number(name: str) -> int:
    """Return the subject that a name stands for.

    Parameters
    ----------
    name
        Such as "subj03".

    Examples
    --------
    >>> subject_number("subj03")
    3
    """
    return int(name.removeprefix("subj"))


@dataclass(frozen=True)
class CacheLayout:
    """Paths of the cache layout.

    Parameters
    ----------
    root
        The cache root.
    data, betas_root, metadata_root, stimulus_root
        Other places than `<root>/nsd_imagery` and its folders betas, metadata and stimuli.
    """

    root: Path
    data: Path | None = None
    betas_root: Path | None = None
    metadata_root: Path | None = None
    stimulus_root: Path | None = None

    @property
    def imagery(self) -> Path:
        """Folder of everything that is NSD-Imagery's."""
        return self.data or self.root / "nsd_imagery"

    @property
    def metadata(self) -> Path:
        """Folder of manifests."""
        return self.metadata_root or self.imagery / "metadata"

    @property
    def stimulus_table(self) -> Path:
        """One row per stimulus."""
        return (self.stimulus_root or self.imagery / "stimuli") / "imagery_stimuli_info.csv"

    @property
    def presented_ids(self) -> Path:
        """The nsd_id of every image that was presented, one a line."""
        return self.stimulus_table.with_name("presented_image_ids.txt")

    @property
    def sessions(self) -> Path:
        """Which sessions every subject has."""
        return self.metadata / "subject_sessions.json"

    @property
    def images(self) -> Path:
        """NSD's 73,000 images."""
        return self.root / "nsd_hdf5/nsd_stimuli.hdf5"

    def manifest(self, subject: int) -> Path:
        """Return the path of the table with one row per trial of a subject.

        Parameters
        ----------
        subject
            1 to 8.
        """
        return self.metadata / f"trial_manifest_{subject_name(subject)}.csv"

    def betas(self, subject: int) -> dict[int, Path]:
        """Return session to file, of the files that are there, under either of the two names in use.

        Parameters
        ----------
        subject
            1 to 8.
        """
        folder = (self.betas_root or self.imagery / "betas") / subject_name(subject)
        found = {}
        for path in sorted(folder.glob("*session*.nii.gz")):
            match = re.fullmatch(r"(?:imagery_betas_)?session(\d+)\.nii\.gz", path.name)
            if match:
                found[int(match.group(1))] = path
        return found

    def subjects(self) -> list[int]:
        """Return the subjects that there are manifests of."""
        files = self.metadata.glob("trial_manifest_subj*.csv")
        return sorted(subject_number(file.stem.removeprefix("trial_manifest_")) for file in files)


def init_layout(root: Path) -> list[Path]:
    """Make the folders of the cache layout; return those that were not there yet.

    Parameters
    ----------
    root
        The cache root.

    Raises
    ------
    OutputError
        If they cannot be made there.
    """
    made = [root / name for name in _FOLDERS if not (root / name).is_dir()]
    for folder in made:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot be made ({error.strerror})",
                place=str(folder),
                expected="a cache root that is a folder, or can become one",
                fix="give another --cache-root, or set NSD_CACHE_ROOT",
            ) from error
    return made


CHECKSUMS: Final = f"{INDEX_FOLDER}/checksums.sha256"
_FIX: Final = f"if that is meant, remove {CHECKSUMS} and write it again"


def write_checksums(root: Path) -> int:
    """Write the digests of all indices and of the files of betas that they name; return how many.

    Parameters
    ----------
    root
        The cache root.

    Raises
    ------
    PackageError
        If an index cannot be read.
    OutputError
        If the digests cannot be written.
    """
    indices = sorted((root / INDEX_FOLDER).glob("*.parquet"))
    betas = {str(name) for path in indices for name in read_index(path)["beta_path"].unique()}
    names = sorted({path.relative_to(root).as_posix() for path in indices} | betas)
    with new_file(root / CHECKSUMS) as file:
        for name in names:
            file.write(f"{sha256_file(root / name)}  {name}\n".encode())
    return len(names)


def changed_files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield name and problem of every file that is not the one that checksums were made of.

    Nothing, where there are no checksums.

    Parameters
    ----------
    root
        The cache root.
    """
    path = root / CHECKSUMS
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if not (root / name).is_file():
            yield name, f"is not there any more; {_FIX}"
        elif sha256_file(root / name) != digest:
            yield name, f"does not have the digest {digest[:12]}...; {_FIX}"

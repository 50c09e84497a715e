"""NSD's numbers, and where the files of its core experiment lie below its root, as in the public bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsd_bench.errors import SourceError

__all__ = [
    "FSAVERAGE_ATLASES",
    "IMAGES_PER_SUBJECT",
    "N_IMAGES",
    "N_REPEATS",
    "N_SHARED",
    "RUN_LENGTHS",
    "SESSIONS",
    "SURFACES",
    "TRIALS_PER_SESSION",
    "Layout",
    "require_files",
]

SESSIONS: Final = {1: 40, 2: 40, 3: 32, 4: 30, 5: 40, 6: 32, 7: 40, 8: 30}
"""Sessions that each subject completed."""
TRIALS_PER_SESSION: Final = 750
RUN_LENGTHS: Final = (63, 62) * 6
"""Trials in each of the 12 runs of a session."""
N_IMAGES: Final = 73_000
IMAGES_PER_SUBJECT: Final = 10_000
N_SHARED: Final = 1000
"""Images that all subjects were to see."""
N_REPEATS: Final = 3
"""Planned showings of an image to a subject."""
FSAVERAGE_ATLASES: Final = (
    *("nsdgeneral", "streams", "Kastner2015", "HCP_MMP1", "corticalsulc"),
    *("visualsulc", "gVTC", "hVTC", "gEVC", "fVTC"),
)
"""Atlases that are drawn on fsaverage itself."""
SURFACES: Final = ("fsaverage", "nativesurface")
"""Spaces whose units are vertices; those of the others are voxels."""


@dataclass(frozen=True)
class Layout:
    """Paths of NSD's files.

    Parameters
    ----------
    root
        Folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`.

    Examples
    --------
    >>> [path.name for path in Layout(Path("NSD")).betas(3, "fsaverage", "betas_fithrf", 7, "mgh")]
    ['lh.betas_session07.mgh', 'rh.betas_session07.mgh']
    """

    root: Path

    @property
    def design(self) -> Path:
        """The order of images, and which images each subject saw."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimulus_table(self) -> Path:
        """One row per image: COCO id, crop, flags."""
        return self.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"

    @property
    def stimuli(self) -> Path:
        """All 73,000 images."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    def responses_table(self, subject: int) -> Path:
        """Return the path of a subject's table with one row per trial: image shown, button presses.

        Parameters
        ----------
        subject
            1 to 8.
        """
        return self._data(subject) / "behav/responses.tsv"

    def betas(self, subject: int, space: str, version: str, session: int, suffix: str) -> tuple[Path, ...]:
        """Return the paths of a session's single-trial betas: one file, or one of each hemisphere.

        Parameters
        ----------
        subject
            1 to 8.
        space
            Such as "func1pt8mm" or "fsaverage".
        version
            Such as "betas_fithrf_GLMdenoise_RR".
        session
            From 1.
        suffix
            How the files' names end: "hdf5", "nii.gz" or "mgh".
        """
        folder, name = self._betas(subject, space, version), f"betas_session{session:02}.{suffix}"
        return tuple(folder / (head + name) for head in _heads(space))

    def ncsnr(self, subject: int, space: str, version: str) -> tuple[Path, ...]:
        """Return the paths of the noise-ceiling signal-to-noise ratio of every unit; none in MNI space.

        Parameters
        ----------
        subject, space, version
            See `betas`.
        """
        if space == "MNI":
            return ()
        suffix = "mgh" if space in SURFACES else "nii.gz"
        folder = self._betas(subject, space, version)
        return tuple(folder / f"{head}ncsnr.{suffix}" for head in _heads(space))

    def valid(self, subject: int, space: str, session: int) -> Path:
        """Return the path of the volume that says which voxels have data in one session.

        Parameters
        ----------
        subject, space, session
            See `betas`; of a space of voxels.
        """
        return self._data(subject) / space / f"valid_session{session:02}.nii.gz"

    def brainmask(self, subject: int, space: str) -> Path:
        """Return the path of the mask of voxels inside the brain.

        Parameters
        ----------
        subject, space
            See `betas`; of a space of voxels.
        """
        return self._data(subject) / space / "brainmask.nii.gz"

    def roi(self, subject: int, space: str, atlas: str, hemisphere: str | None = None) -> Path:
        """Return the path of an atlas' labels in voxels.

        Parameters
        ----------
        subject, space
            See `betas`; of a space of voxels.
        atlas
            Such as "streams".
        hemisphere
            "lh" or "rh"; None for the file of both.
        """
        head = f"{hemisphere}." if hemisphere else ""
        return self._data(subject) / space / "roi" / f"{head}{atlas}.nii.gz"

    def surface_labels(self, subject: int, space: str, atlas: str) -> tuple[Path, ...]:
        """Return the paths of an atlas' labels on the left and the right surface, the subject's or fsaverage.

        What was drawn on each subject's own surface is not there on fsaverage: the two files that say for
        every vertex of fsaverage which vertex of the subject it is, counted from 1, come behind the labels.

        Parameters
        ----------
        subject
            1 to 8.
        space
            "fsaverage" or "nativesurface".
        atlas
            Such as "streams".
        """
        on_fsaverage = space == "fsaverage" and atlas in FSAVERAGE_ATLASES
        whose = "fsaverage" if on_fsaverage else f"subj{subject:02}"
        folder = self.root / f"nsddata/freesurfer/{whose}/label"
        labels = folder / f"lh.{atlas}.mgz", folder / f"rh.{atlas}.mgz"
        if on_fsaverage or space != "fsaverage":
            return labels
        transforms = self._data(subject) / "transforms"
        names = ("lh.white-to-fsaverage.mgz", "rh.white-to-fsaverage.mgz")
        return (*labels, *(transforms / name for name in names))

    def label_names(self, subject: int, atlas: str) -> Path:
        """Return the path of the table with the names of an atlas' labels.

        Parameters
        ----------
        subject
            1 to 8.
        atlas
            Such as "streams".
        """
        if atlas in {"MTL", "thalamus"}:
            return self.root / f"nsddata/templates/{atlas}.ctab"
        return self.root / f"nsddata/freesurfer/subj{subject:02}/label/{atlas}.mgz.ctab"

    def _data(self, subject: int) -> Path:
        return self.root / f"nsddata/ppdata/subj{subject:02}"

    def _betas(self, subject: int, space: str, version: str) -> Path:
        return self.root / f"nsddata_betas/ppdata/subj{subject:02}" / space / version


def _heads(space: str) -> tuple[str, ...]:
    return ("lh.", "rh.") if space in SURFACES else ("",)


def require_files(files: dict[Path, str], root: Path) -> None:
    """Check that all files are there before anything is read.

    Parameters
    ----------
    files
        Path to what it is: "subj03, session 33".
    root
        NSD's root, named in the error.

    Raises
    ------
    SourceError
        If any is missing; names the first and counts the others.
    """
    missing = [(path, what) for path, what in files.items() if not path.is_file()]
    if not missing:
        return
    path, what = missing[0]
    others = f" ({len(missing)} of {len(files)} files are missing in all)" if len(missing) > 1 else ""
    raise SourceError(
        f"no file {path}{others}",
        place=what,
        expected=f"NSD's files below {root}, as in its public bucket",
        fix=f"fetch it: aws s3 cp --no-sign-request "
        f"s3://natural-scenes-dataset/{path.relative_to(root).as_posix()} {path}",
    )

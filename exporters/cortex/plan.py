"""NSD's files for maps on a subject's own cortex, before any is fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from exporters.nsd.layout import SESSIONS, Layout
from exporters.nsd.surfaces import HEMISPHERES
from exporters.nsd.transforms import DEPTHS, transform_files
from exporters.plan import PlannedFile
from nsd_bench.errors import OptionError

__all__ = ["cortex_files"]

_SURFACES: Final = ("smoothwm", "pial", "inflated", "curv", "sulc", "thickness", "full.flat.patch.3d")


def cortex_files(nsd_root: Path, subject: int, space: str, atlases: Sequence[str]) -> Iterator[PlannedFile]:
    """List what `nsd-bench cortex` and `flatmap` read of a subject.

    Parameters
    ----------
    nsd_root
        Where NSD is, or is to be.
    subject
        1 to 8.
    space
        "func1pt8mm" or "func1mm".
    atlases
        On the subject's own surface, to be drawn as outlines.

    Yields
    ------
    file
        Surfaces, flat maps and anatomy, labels with their names, NSD's transforms, and the grid.

    Raises
    ------
    OptionError
        If NSD has no such subject.
    """
    if subject not in SESSIONS:
        raise OptionError(
            f"there is no subject {subject}",
            place="NSD",
            expected="1 to 8",
            fix="correct --subjects",
        )
    layout = Layout(nsd_root)
    folder = nsd_root / f"nsddata/freesurfer/subj{subject:02}"
    paths = [folder / f"surf/{side}.{name}" for name in _SURFACES for side in HEMISPHERES]
    paths.append(folder / "mri/T1.mgz")
    for atlas in atlases:
        paths += [*layout.surface_labels(subject, "nativesurface", atlas), layout.label_names(subject, atlas)]
    transforms = transform_files(layout, subject, space)
    paths += [path for depth in DEPTHS for path in transforms[depth]]
    betas = nsd_root / f"nsddata_betas/ppdata/subj{subject:02}/{space}/betas_fithrf_GLMdenoise_RR"
    paths += [layout.brainmask(subject, space), betas / "meanbeta.nii.gz"]
    for path in paths:
        n_bytes = path.stat().st_size if path.is_file() else None
        yield PlannedFile(path.relative_to(nsd_root).as_posix(), n_bytes)

"""`nsd-bench cortex`: subjects for pycortex, made and checked without it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from nsd_bench.cli.shared.cortex_regions import ATLASES_HELP, image, masks, outlines, store_option
from nsd_bench.cli.shared.inputs import check_exporters, numbers
from nsd_bench.cli.shared.planned import echo_files

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from exporters.cortex.transforms import Convention

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("cortex")
def command() -> None:
    """Make, check and complete subjects for pycortex, without FreeSurfer, FSL, Inkscape or pycortex."""
    check_exporters()


for _regions in (outlines, image, masks):
    command.add_command(_regions)


@command.command("plan")
@click.option("--nsd-root", type=_PATH, required=True, help="Folder with nsddata/, or where it is to be.")
@click.option("--subjects", callback=numbers, required=True, help="As in 1,2 or 1-8.")
@click.option(
    "--space", type=click.Choice(["func1pt8mm", "func1mm"]), default="func1pt8mm", show_default=True
)
@click.option("--atlas", "atlases", multiple=True, help=ATLASES_HELP)
@click.option("--missing", is_flag=True, help="Print only the commands that fetch what is missing.")
def plan(
    nsd_root: Path, subjects: tuple[int, ...], space: str, atlases: tuple[str, ...], missing: bool
) -> None:
    """List NSD's files for maps on the SUBJECTS' own cortex, with their sizes, and how to fetch them."""
    from exporters.cortex.atlases import ATLASES
    from exporters.cortex.plan import cortex_files

    wanted = [cortex_files(nsd_root, number, space, atlases or ATLASES) for number in subjects]
    echo_files([file for files in wanted for file in files], missing=missing)


@command.command("validate")
@store_option
@click.argument("subjects", nargs=-1, required=True)
@click.option("--shape", help="X,Y,Z of the volumes to be drawn, as in 81,104,83.")
def validate(store: Path, subjects: tuple[str, ...], shape: str | None) -> None:
    """List everything that is wrong with SUBJECTS; exit 1 if one cannot be used."""
    from exporters.cortex.store import Subject
    from exporters.cortex.validate import validate_subject
    from nsd_bench.issues import has_errors

    failed = False
    for name in subjects:
        issues = validate_subject(Subject(store, name), _shape(shape))
        failed |= has_errors(issues)
        n_errors = sum(issue.level == "error" for issue in issues)
        verdict = f"{n_errors} errors, {len(issues) - n_errors} warnings" if issues else "ok"
        click.echo(f"{store / name}: {verdict}")
        for issue in issues:
            click.echo(f"  {issue}")
    sys.exit(failed)


def _shape(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(size) for size in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not like 81,104,83", param_hint="--shape") from None


@command.command("import")
@store_option
@click.argument("source", type=_PATH)
@click.option("--name", help="The subject's name in the store; by default that of SOURCE.")
def import_(store: Path, source: Path, name: str | None) -> None:
    """Copy the ready-made subject SOURCE, a folder, into the store after checking it."""
    from exporters.cortex.import_ import import_subject
    from exporters.cortex.store import Subject

    subject = Subject(store, name or source.resolve().name)
    for issue in import_subject(source.resolve(), subject):
        click.echo(f"  {issue}")
    click.echo(str(subject.path))


@command.command("build")
@store_option
@click.argument("freesurfer", type=_PATH)
@click.option("--name", help="The subject's name in the store; by default that of FREESURFER.")
@click.option("--white", default="smoothwm", show_default=True, help="Inner surface: smoothwm, or white.")
@click.option("--patch", default="full", show_default=True, help="lh.PATCH.flat.patch.3d is the flat map.")
@click.option(
    "--axes",
    type=click.Choice(["auto", "pycortex", "raw"]),
    default="auto",
    show_default=True,
    help="Which way the patch lies; NSD's own ones are raw.",
)
def build(store: Path, freesurfer: Path, name: str | None, white: str, patch: str, axes: str) -> None:
    """Make a subject from FREESURFER, a subject's folder with surf/ and mri/T1.mgz."""
    from exporters.cortex.build import BuildOptions, build_subject
    from exporters.cortex.store import Subject

    subject = Subject(store, name or freesurfer.resolve().name)
    click.echo(str(build_subject(freesurfer.resolve(), subject, BuildOptions(white, patch, axes))))
    click.echo(f"Next: nsd-bench cortex transform --store {store} {subject.name} NAME --reference VOLUME")


@command.command("transform")
@store_option
@click.argument("subject")
@click.argument("name")
@click.option("--reference", type=_FILE, required=True, help="Functional volume, such as the mean beta.")
@click.option("--register", type=_FILE, help="FreeSurfer's register.dat; needs --freesurfer.")
@click.option("--flirt", type=_FILE, help="FLIRT's matrix from functional volume to anatomy.")
@click.option("--affine", type=_FILE, help="Matrix in text, from functional to anatomical mm.")
@click.option("--identity", is_flag=True, help="The volume's mm are the anatomy's already.")
@click.option("--align", type=click.Choice(["bbregister", "flirt"]), help="Align now with this program.")
@click.option("--freesurfer", type=_PATH, help="The subject's FreeSurfer folder.")
@click.option("--delete-masks", is_flag=True, help="Replace a transform, and the masks made with it.")
def transform(
    store: Path,
    subject: str,
    name: str,
    reference: Path,
    register: Path | None,
    flirt: Path | None,
    affine: Path | None,
    identity: bool,
    align: str | None,
    freesurfer: Path | None,
    delete_masks: bool,
) -> None:
    """Give SUBJECT the transform NAME, from its surfaces to a functional grid."""
    from tempfile import TemporaryDirectory

    from exporters.cortex.store import Subject
    from exporters.cortex.tools import align as align_with
    from exporters.cortex.transforms import save_transform

    given = {"register": register, "flirt": flirt, "affine": affine}
    files = {convention: file for convention, file in given.items() if file is not None}
    if len(files) + identity + (align is not None) != 1:
        raise click.UsageError("give one of --register, --flirt, --affine, --identity and --align")
    whose = Subject(store, subject).require()
    anatomy = whose.require_anatomy() if "flirt" in {align, *files} else whose.anatomy
    with TemporaryDirectory() as work:
        if align is not None:
            convention = "register" if align == "bbregister" else "flirt"
            files = {convention: Path(work) / "matrix.txt"}
            align_with(align, reference, anatomy, files[convention], freesurfer)
        matrix = _matrix(files, reference, anatomy, freesurfer)
    click.echo(str(save_transform(whose, name, matrix, reference, delete_masks=delete_masks)))


def _matrix(
    files: dict[str, Path], reference: Path, anatomy: Path, freesurfer: Path | None
) -> npt.NDArray[np.float64]:
    import numpy as np

    from exporters.cortex.transforms import anatomy_to_functional

    for convention, file in files.items():
        return anatomy_to_functional(file, cast("Convention", convention), reference, anatomy, freesurfer)
    return np.eye(4)


@command.command("place")
@store_option
@click.argument("subject")
@click.argument("transform")
@click.option("--out", type=_PATH, required=True, help="File to write, PACKAGE.placement.npz.")
def place(store: Path, subject: str, transform: str, out: Path) -> None:
    """Write which voxels SUBJECT's vertices show, for --placements of flatmap and view."""
    from exporters.cortex.placing import transform_placement
    from exporters.cortex.store import Subject
    from nsd_bench.outputs import refuse_existing, write_npz

    refuse_existing(out)
    write_npz(out, transform_placement(Subject(store, subject), transform).arrays())
    click.echo(f"{out}: give its folder to 'nsd-bench flatmap' or 'view' with --placements")


@command.command("mni")
@click.argument("volume", type=_FILE)
@click.option("--reference", type=_FILE, required=True, help="A volume of the subject's grid.")
@click.option("--matrix", type=_FILE, required=True, help="4 x 4 in text, from the subject's mm to MNI's.")
@click.option("--template", type=_FILE, help="MNI volume, if --matrix is FLIRT's from reference to it.")
@click.option("--labels", is_flag=True, help="Take the nearest voxel: VOLUME holds labels.")
@click.option("--out", type=_PATH, required=True, help="Volume to write, .nii.gz.")
def mni(volume: Path, reference: Path, matrix: Path, template: Path | None, labels: bool, out: Path) -> None:
    """Bring VOLUME from MNI space onto a subject's grid; an affine matrix makes that approximate."""
    from exporters.cortex.mni import mni_to_subject

    mni_to_subject(volume, reference, matrix, out, template=template, labels=labels)
    click.echo(f"{out}: approximate, one affine matrix from MNI")

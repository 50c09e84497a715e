"""`nsd-bench cortex`: subjects for pycortex, their transforms, drawings of regions, and masks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nsd_bench.cli import Group
from nsd_bench.cli.options import check_exporters, echo_files, numbers

if TYPE_CHECKING:
    from exporters.cortex.transforms import Convention

__all__ = ["ATLASES_HELP", "cortex_command", "image", "masks", "outlines", "store_option"]

ATLASES_HELP: Final = "Repeat for more; prf-visualrois, floc-places and floc-bodies by default."
_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

store_option = click.option(
    "--store", type=_PATH, required=True, help="Folder that holds the subjects (pycortex's filestore)."
)
_LABELS = click.option("--labels", type=_FILE, nargs=2, help="Labels a vertex: left and right .mgz.")
_NAMES = click.option("--names", type=_FILE, help="Names of the labels, .mgz.ctab.")


@click.command("outlines")
@store_option
@click.argument("subject")
@_LABELS
@click.option("--volume", type=_FILE, help="Labels a voxel, .nii.gz; needs --transform.")
@click.option("--transform", help="Name of the transform that leads to the volume's grid.")
@_NAMES
@click.option(
    "--freesurfer", type=_PATH, help="The subject's FreeSurfer folder: takes atlases of its label/."
)
@click.option("--atlas", "atlases", multiple=True, help=ATLASES_HELP)
@click.option("--min-area", default=0.0, show_default=True, help="Leave out parts smaller than this, mm2.")
@click.option("--replace", is_flag=True, help="Replace regions of the same name.")
def outlines(
    store: Path,
    subject: str,
    labels: tuple[Path, Path] | None,
    volume: Path | None,
    transform: str | None,
    names: Path | None,
    freesurfer: Path | None,
    atlases: tuple[str, ...],
    min_area: float,
    replace: bool,
) -> None:
    """Draw the regions of one or more atlases into SUBJECT's overlays.svg, without Inkscape.

    Give --freesurfer; or --names with --labels, or with --volume and --transform.
    """
    from exporters.cortex.freesurfer import ATLASES, atlas_regions, read_labels
    from exporters.cortex.masks import named_regions
    from exporters.cortex.placing import volume_labels
    from nsd_bench.cortex.overlays import draw_regions
    from nsd_bench.cortex.store import PycortexSubject

    whose = PycortexSubject(store, subject)
    if atlases and freesurfer is None:
        raise click.UsageError("--atlas needs --freesurfer")
    match freesurfer, labels, volume, transform, names:
        case Path(), None, None, None, None:
            regions = atlas_regions(freesurfer, atlases or ATLASES)
        case None, (left, right), None, None, Path():
            regions = named_regions(read_labels((left, right)), names)
        case None, None, Path(), str(), Path():
            regions = named_regions(volume_labels(whose, transform, volume), names)
        case _:
            raise click.UsageError(
                "give --freesurfer; or --names with --labels, or with --volume and --transform"
            )
    drawn = draw_regions(whose, regions, min_area_mm2=min_area, replace=replace)
    click.echo(f"{whose.drawing}: {', '.join(f'{name} ({n})' for name, n in drawn.items())}")


@click.command("image")
@store_option
@click.argument("subject")
@click.argument("name")
@click.option("--values", type=_FILE, nargs=2, help="Numbers a vertex: left and right .mgz.")
@click.option("--volume", type=_FILE, help="Numbers a voxel, .nii.gz; needs --transform.")
@click.option("--transform", help="Name of the transform that leads to the volume's grid.")
@click.option("--within", type=_FILE, help="Volume of the same grid: 0 is shown where it is not above 0.")
@click.option("--cmap", help="Colour map of matplotlib's.")
@click.option("--vmin", type=float, help="Lower end of the colours.")
@click.option("--vmax", type=float, help="Upper end of the colours.")
@click.option("--no-region", is_flag=True, help="Add no empty region of that name to draw into.")
@click.option("--replace", is_flag=True, help="Replace a picture of the same name.")
def image(
    store: Path,
    subject: str,
    name: str,
    values: tuple[Path, Path] | None,
    volume: Path | None,
    transform: str | None,
    within: Path | None,
    cmap: str | None,
    vmin: float | None,
    vmax: float | None,
    no_region: bool,
    replace: bool,
) -> None:
    """Put a picture into SUBJECT's overlays.svg, to draw the region NAME on it in Inkscape or elsewhere."""
    import numpy as np

    from exporters.cortex.placing import volume_values
    from exporters.nsd.surfaces import read_vertices
    from nsd_bench.cortex.figure import shared_scale
    from nsd_bench.cortex.overlays import add_image_layer
    from nsd_bench.cortex.store import PycortexSubject

    whose = PycortexSubject(store, subject)
    if values is not None and volume is None and within is None:
        shown = np.concatenate([read_vertices(path) for path in values]).astype(np.float64)
    elif values is None and volume is not None and transform is not None:
        shown = volume_values(whose, transform, volume, within)
    else:
        raise click.UsageError("give --values, or --volume with --transform")
    scale = shared_scale([shown], colours=cmap, low=vmin, high=vmax)
    add_image_layer(whose, name, shown, scale, with_region=not no_region, replace=replace)
    click.echo(f"{whose.drawing}: layer img_{name}, {scale.colours} from {scale.low:g} to {scale.high:g}")


@click.command("masks")
@store_option
@click.argument("subject")
@click.argument("transform")
@click.option("--out", type=_PATH, required=True, help="New folder for NAME.nii.gz.")
@click.option("--region", "wanted", multiple=True, help="Name of a region; repeat for more. All by default.")
@_LABELS
@_NAMES
@click.option(
    "--sampler",
    type=click.Choice(["cortical", "cortical-conservative", "cortical-liberal", "thin", "thick"]),
    default="cortical",
    show_default=True,
    help="Which voxels are cortex.",
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Of cortical-conservative and -liberal: 0.5 by default."
)
@click.option("--split", is_flag=True, help="Part every region into NAME_L and NAME_R.")
@click.option("--keep-overlap", is_flag=True, help="Voxels of several regions belong to all, not to none.")
@click.option("--skip-missing", is_flag=True, help="Leave out regions that there are not.")
@click.option("--skip-empty", is_flag=True, help="Leave out regions without a voxel.")
@click.option("--cortex", "with_cortex", is_flag=True, help="Also write cortex.nii.gz, all of it.")
def masks(
    store: Path,
    subject: str,
    transform: str,
    out: Path,
    wanted: tuple[str, ...],
    labels: tuple[Path, Path] | None,
    names: Path | None,
    sampler: str,
    threshold: float | None,
    split: bool,
    keep_overlap: bool,
    skip_missing: bool,
    skip_empty: bool,
    with_cortex: bool,
) -> None:
    """Write the voxels of SUBJECT's regions on the grid of TRANSFORM: those drawn, or those of an atlas."""
    from exporters.cortex.freesurfer import read_labels
    from exporters.cortex.masks import named_regions, region_masks
    from nsd_bench.cortex.overlays import drawn_vertices
    from nsd_bench.cortex.store import PycortexSubject

    if (labels is None) != (names is None):
        raise click.UsageError("give --labels together with --names")
    if threshold is not None and not sampler.startswith("cortical-"):
        raise click.UsageError("--threshold needs --sampler cortical-conservative or cortical-liberal")
    whose = PycortexSubject(store, subject)
    if labels is None or names is None:
        regions, place = drawn_vertices(whose), whose.drawing
    else:
        regions, place = named_regions(read_labels(labels), names), names
    written = region_masks(
        whose,
        transform,
        regions,
        out,
        wanted=wanted,
        place=str(place),
        sampler=sampler,
        threshold=threshold,
        split=split,
        keep_overlap=keep_overlap,
        skip_missing=skip_missing,
        skip_empty=skip_empty,
        with_cortex=with_cortex,
    )
    for file, count in written.items():
        click.echo(f"{out / file}: {count} voxels")


@click.group("cortex", cls=Group)
def cortex_command() -> None:
    """Make, check and complete subjects for pycortex, without FreeSurfer, FSL, Inkscape or pycortex."""
    check_exporters()


for _regions in (outlines, image, masks):
    cortex_command.add_command(_regions)


@cortex_command.command("plan")
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
    from exporters.cortex.build import cortex_files
    from exporters.cortex.freesurfer import ATLASES

    wanted = [cortex_files(nsd_root, number, space, atlases or ATLASES) for number in subjects]
    echo_files([file for files in wanted for file in files], missing=missing)


@cortex_command.command("validate")
@store_option
@click.argument("subjects", nargs=-1, required=True)
@click.option("--shape", help="X,Y,Z of the volumes to be drawn, as in 81,104,83.")
def validate(store: Path, subjects: tuple[str, ...], shape: str | None) -> None:
    """List everything that is wrong with SUBJECTS; exit 1 if one cannot be used."""
    from exporters.cortex.validate import validate_subject
    from nsd_bench.cortex.store import PycortexSubject
    from nsd_bench.errors import has_errors

    failed = False
    for name in subjects:
        issues = validate_subject(PycortexSubject(store, name), _shape(shape))
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


@cortex_command.command("import")
@store_option
@click.argument("source", type=_PATH)
@click.option("--name", help="The subject's name in the store; by default that of SOURCE.")
def import_(store: Path, source: Path, name: str | None) -> None:
    """Copy the ready-made subject SOURCE, a folder, into the store after checking it."""
    from exporters.cortex.build import import_subject
    from nsd_bench.cortex.store import PycortexSubject

    subject = PycortexSubject(store, name or source.resolve().name)
    for issue in import_subject(source.resolve(), subject):
        click.echo(f"  {issue}")
    click.echo(str(subject.path))


@cortex_command.command("build")
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
    from nsd_bench.cortex.store import PycortexSubject

    subject = PycortexSubject(store, name or freesurfer.resolve().name)
    click.echo(str(build_subject(freesurfer.resolve(), subject, BuildOptions(white, patch, axes))))
    click.echo(f"Next: nsd-bench cortex transform --store {store} {subject.name} NAME --reference VOLUME")


@cortex_command.command("transform")
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
    from exporters.cortex.transforms import add_transform
    from nsd_bench.cortex.store import PycortexSubject

    given: dict[Convention, Path | None] = {"register": register, "flirt": flirt, "affine": affine}
    files: dict[Convention | None, Path | None] = {
        convention: file for convention, file in given.items() if file is not None
    }
    if len(files) + identity + (align is not None) != 1:
        raise click.UsageError("give one of --register, --flirt, --affine, --identity and --align")
    if align is not None:
        files = {"flirt" if align == "flirt" else "register": None}
    ((convention, file),) = files.items() or [(None, None)]
    whose = PycortexSubject(store, subject)
    path = add_transform(
        whose, name, reference, convention, file, freesurfer=freesurfer, delete_masks=delete_masks
    )
    click.echo(str(path))


@cortex_command.command("place")
@store_option
@click.argument("subject")
@click.argument("transform")
@click.option("--out", type=_PATH, required=True, help="File to write, PACKAGE.placement.npz.")
def place(store: Path, subject: str, transform: str, out: Path) -> None:
    """Write which voxels SUBJECT's vertices show, for --placements of flatmap and view."""
    from exporters.cortex.placing import keep_placement
    from nsd_bench.cortex.store import PycortexSubject

    keep_placement(PycortexSubject(store, subject), transform, out)
    click.echo(f"{out}: give its folder to 'nsd-bench flatmap' or 'view' with --placements")


@cortex_command.command("mni")
@click.argument("volume", type=_FILE)
@click.option("--reference", type=_FILE, required=True, help="A volume of the subject's grid.")
@click.option("--matrix", type=_FILE, required=True, help="4 x 4 in text, from the subject's mm to MNI's.")
@click.option("--template", type=_FILE, help="MNI volume, if --matrix is FLIRT's from reference to it.")
@click.option("--labels", is_flag=True, help="Take the nearest voxel: VOLUME holds labels.")
@click.option("--out", type=_PATH, required=True, help="Volume to write, .nii.gz.")
def mni(volume: Path, reference: Path, matrix: Path, template: Path | None, labels: bool, out: Path) -> None:
    """Bring VOLUME from MNI space onto a subject's grid; an affine matrix makes that approximate."""
    from exporters.cortex.placing import mni_to_subject

    mni_to_subject(volume, reference, matrix, out, template=template, labels=labels)
    click.echo(f"{out}: approximate, one affine matrix from MNI")

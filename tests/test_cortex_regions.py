"""Regions of a drawing: read from paths, found among vertices and voxels, and pictures to draw them on."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from cortex_trees import make_sheets, picture

from exporters.cortex.masks import (
    SAMPLERS,
    choose_regions,
    label_regions,
    read_ribbon,
    region_masks,
    write_masks,
)
from exporters.cortex.placing import volume_labels, volume_values
from nsd_bench.cli.cortex import cortex_command as command
from nsd_bench.cortex.figure import Scale
from nsd_bench.cortex.overlays import (
    add_image_layer,
    draw_regions,
    drawn_vertices,
    outline_counts,
    parse_path,
    region_paths,
)
from nsd_bench.cortex.store import PycortexSubject
from nsd_bench.errors import OptionError, OutputError, SourceError

LEFT, RIGHT = np.arange(24) < 12, np.arange(24) >= 12


@pytest.fixture
def sheets(tmp_path) -> PycortexSubject:
    return make_sheets(tmp_path / "db")


def places_mm() -> np.ndarray:
    """Vertices half-way through cortex."""
    side = [(x, y, 3.5) for y in range(3) for x in range(4)]
    return np.array(side + [(x + 6, y, z) for x, y, z in side])


# Paths


@pytest.mark.parametrize(
    ("text", "vertices"),
    [
        ("M 1,2 L 3,4 5,6 Z", [(1, 2), (3, 4), (5, 6), (1, 2)]),
        ("M1 2 3 4 5 6z", [(1, 2), (3, 4), (5, 6), (1, 2)]),
        ("m 1,2 2,2 l 2,2", [(1, 2), (3, 4), (5, 6)]),
        ("M10-2.5L.5.25", [(10, -2.5), (0.5, 0.25)]),
        ("M 1,1 H 4 V 3 h -3 z", [(1, 1), (4, 1), (4, 3), (1, 3), (1, 1)]),
        ("M 1,1 h 1 z m 5,5 v 1e1", [(1, 1), (2, 1), (1, 1), (6, 6), (6, 16)]),
        ("M 0,0 C 0,1 1,2 2,2 s 2,-1 2,-2", [(0, 0), (0, 1), (1, 2), (2, 2), (3, 2), (4, 1), (4, 0)]),
        ("m 1,1 q 1,0 1,1", [(1, 1), (2, 1), (2, 2)]),
    ],
)
def test_paths_are_read_as_svg_defines_them(text, vertices):
    np.testing.assert_allclose(parse_path(text).vertices, vertices)


def test_curves_enclose_what_they_enclose():
    k = 100 * 0.5522847498  # a circle of four cubic curves
    circle = f"M 100,0 C 100,{k} {k},100 0,100 S -100,{k} -100,0 S -{k},-100 0,-100 S 100,-{k} 100,0 Z"
    points = np.random.default_rng(0).uniform(-130, 130, (400, 2))
    radius = np.hypot(*points.T)
    clear = abs(radius - 100) > 0.5
    np.testing.assert_array_equal(parse_path(circle).contains_points(points)[clear], (radius < 100)[clear])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is not a path"),
        ("L 1,2", "'L 1,2' is not a path"),
        ("M 1,2 # 3", "'#' is not a path"),
        ("M 1", "M 1 cannot be drawn"),
        ("M 1,2 L 3 Z", "L 3 Z cannot be drawn"),
        ("M 1,2 A 5,5 0 0 1 3,3", "A  cannot be drawn"),
        ("M 1,2 3,4 Z 5,6", "5 follows Z"),
    ],
)
def test_what_is_no_path_is_refused(text, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_path(text)


# From a drawing to vertices


def draw(subject: PycortexSubject, **outlines: str) -> None:
    """Draw regions by hand: an empty one from the program, then one's own path."""
    draw_regions(subject, dict.fromkeys(outlines, np.zeros(24, dtype=bool)))
    text = subject.drawing.read_text()
    for name, outline in outlines.items():
        group = re.search(rf'<g [^>]*label="{name}"[^>]*/>', text).group()
        text = text.replace(group, f'{group[:-2]}><path d="{outline}"/></g>')
    subject.drawing.write_text(text)


def test_vertices_inside_a_hand_drawn_outline_are_found(sheets):
    """On the page 1024 units are 2 mm; the left sheet ends, and the right one begins, at x = 3 mm."""
    draw(sheets, corner="m -50,1100 h 850 v -376 h -850 z", far="M 1500,500 C 3200,500 3200,1100 1500,1100 Z")
    paths, size = region_paths(sheets)
    assert list(paths) == ["corner", "far"]
    assert size == (3072, 1024)
    found = drawn_vertices(sheets)
    assert np.flatnonzero(found["corner"]).tolist() == [0, 1]
    assert np.flatnonzero(found["far"]).tolist() == [3, 7, 12, 13, 16]


def test_vertices_that_were_cut_out_belong_to_their_neighbours(sheets):
    draw(sheets, edge="M 2900,-10 L 3100,-10 3100,600 2900,600 Z", inner="M 2000,400 h 300 v 300 h -300 z")
    found = drawn_vertices(sheets)
    assert np.flatnonzero(found["edge"]).tolist() == [19, 23]  # 23 is not on the map, and beside 19
    assert np.flatnonzero(found["inner"]).tolist() == [17]


def test_labels_come_back_from_their_outlines(sheets):
    labels = np.where(places_mm()[:, 0] < 1.5, 1, np.where(places_mm()[:, 0] > 7.5, 2, 0))
    draw_regions(sheets, label_regions(labels, {1: "west", 2: "east"}))
    found = drawn_vertices(sheets)
    inner = (places_mm()[:, 1] == 1) & (labels > 0)  # the others lie on the rim, where outlines run
    inner[[0, 3, 20, 23]] = False
    for name, label in {"west": 1, "east": 2}.items():
        assert not (found[name] & (labels != label) & ~RIGHT).any()
        assert found[name][inner & (labels == label) & (places_mm()[:, 0] % 3 == 1)].all()


def test_drawings_that_cannot_be_read_say_so(sheets):
    with pytest.raises(SourceError) as error:
        drawn_vertices(sheets)
    assert str(error.value) == (
        f"{sheets.drawing}: nothing is drawn: there is no such file.\n"
        "  Expected: overlays.svg, the drawing of the subject's regions.\n"
        "  What to do: draw regions with 'nsd-bench cortex outlines', or give labels of vertices."
    )
    draw(sheets, arc="M 0,0 A 5,5 0 0 1 3,3")
    with pytest.raises(SourceError) as error:
        drawn_vertices(sheets)
    assert error.value.problem == "an outline of 'arc' cannot be read (A  cannot be drawn)"
    assert error.value.fix.startswith("turn it into a path in Inkscape")
    sheets.drawing.write_text(sheets.drawing.read_text().replace('width="3072.000"', 'width="100%"'))
    with pytest.raises(SourceError, match="its page has no size"):
        region_paths(sheets)


# From vertices to voxels


def plain_cortex(sampler: str) -> np.ndarray:
    """Voxels of cortex by their definitions, written as plain loops."""
    mask = np.zeros((12, 4, 10), dtype=bool)
    for voxel in np.ndindex(mask.shape):
        distances = np.linalg.norm(places_mm() - voxel, axis=1)
        reach = {"cortical": distances.min() <= 3, "thin": distances.min() < 2, "thick": distances.min() < 8}
        columns = [(x, y) for x, y, _ in places_mm()]
        above = voxel[:2] in columns
        on_map = above and columns.index(voxel[:2]) != 23
        reach["cortical-conservative"] = on_map and voxel[2] == 4  # 3.5 rounds to the even number
        reach["cortical-liberal"] = above and 2 <= voxel[2] <= 5
        mask[voxel] = reach[sampler]
    return mask


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_take_the_voxels_that_they_name(sheets, sampler):
    ribbon = read_ribbon(sheets, "grid", sampler)
    np.testing.assert_array_equal(ribbon.voxels, plain_cortex(sampler))
    both = ribbon.masks({"lh": LEFT, "rh": RIGHT})
    np.testing.assert_array_equal(both["lh"] | both["rh"], ribbon.voxels)
    assert not both["lh"][5:].any() and not both["rh"][:4].any()


def test_half_filled_voxels_depend_on_the_threshold(tmp_path):
    """Voxels of 2 mm hold one, two or four vertices."""
    sheets = make_sheets(tmp_path / "db", voxel_mm=2.0)
    ribbon = read_ribbon(sheets, "grid", "cortical-conservative")
    inside = np.zeros(24, dtype=bool)
    inside[[0, 5]] = True  # (0, 0), and (1, 1) in mm
    shares = {}
    for vertex, (x, y, z) in enumerate(places_mm()[:23]):
        voxel = tuple(int(np.round(n / 2)) for n in (x, y, z))
        shares.setdefault(voxel, []).append(inside[vertex])
    for threshold in (0.0, 0.3, 0.5, 0.9):
        expected = {voxel for voxel, members in shares.items() if np.mean(members) > threshold + 1e-6}
        found = ribbon.masks({"r": inside}, threshold=threshold + 1e-6)["r"]
        assert set(zip(*map(np.ndarray.tolist, np.nonzero(found)), strict=True)) == expected


def test_overlap_belongs_to_none_or_to_both_and_regions_are_split(sheets):
    ribbon = read_ribbon(sheets, "grid", "thin")
    west = places_mm()[:, 0] < 7
    regions = {"west": west, "middle": (places_mm()[:, 0] > 1) & (places_mm()[:, 0] < 8)}
    kept = ribbon.masks(regions, keep_overlap=True)
    shared = kept["west"] & kept["middle"]
    assert shared.any()
    alone = ribbon.masks(regions)
    assert not (alone["west"] & shared).any()
    np.testing.assert_array_equal(alone["middle"], kept["middle"] & ~shared)
    split = ribbon.masks(regions, keep_overlap=True, split=True)
    assert list(split) == ["west_L", "west_R", "middle_L", "middle_R"]
    np.testing.assert_array_equal(split["west_L"] | split["west_R"], kept["west"])
    assert split["west_R"].any() and not split["west_R"][:5].any()


def test_a_ribbon_needs_its_surfaces_and_regions_of_them(sheets):
    with pytest.raises(OptionError) as error:
        read_ribbon(sheets, "grid", "corticl")
    assert error.value.expected.endswith("(did you mean 'cortical'?)")
    with pytest.raises(OptionError) as error:
        read_ribbon(sheets, "grid").masks({"V1": np.ones(7, dtype=bool)})
    assert error.value.problem == "region 'V1' has shape (7,)"
    assert error.value.expected == "(24,), one value a vertex, left hemisphere first"
    sheets.surface("wm", "lh").unlink()
    with pytest.raises(SourceError, match="white matter and pia are missing"):
        read_ribbon(sheets, "grid")


# Files of masks


def test_regions_are_chosen_by_name():
    regions = label_regions(np.array([1, 2, 3, 0]), {1: "V1", 3: "V1", 2: "V2"})
    assert {name: inside.tolist() for name, inside in regions.items()} == {
        "V1": [True, False, True, False],
        "V2": [False, True, False, False],
    }
    assert list(choose_regions(regions, [], "here")) == ["V1", "V2"]
    with pytest.raises(OptionError) as error:
        choose_regions(regions, ["V2", "V3"], "overlays.svg")
    assert str(error.value) == (
        "overlays.svg: there is no region 'V3'.\n"
        "  Expected: one of 'V1', 'V2'.\n"
        "  What to do: correct the name, or draw it with 'nsd-bench cortex outlines'; "
        "--skip-missing leaves it out."
    )
    with pytest.raises(OptionError, match="there is no region 'V3'"):
        choose_regions(regions, ["V3"], "here", skip_missing=True)
    with pytest.raises(OptionError, match="a region that is drawn"):
        choose_regions({}, [], "here")


def test_masks_are_files_on_the_transforms_grid(sheets, tmp_path):
    ribbon = read_ribbon(sheets, "grid", "thin")
    masks = ribbon.masks({"a/b": LEFT, "none": LEFT & RIGHT})
    with pytest.raises(OptionError) as error:
        write_masks(tmp_path / "out", ribbon, masks)
    assert error.value.problem == "'none' has no voxel (1 of 2 masks are empty)"
    assert not (tmp_path / "out").exists()
    written = write_masks(tmp_path / "out", ribbon, masks, skip_empty=True)
    assert written == {"a-b.nii.gz": int(masks["a/b"].sum())}
    image = nib.load(tmp_path / "out/a-b.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), masks["a/b"])
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, np.eye(4))
    with pytest.raises(OutputError, match="exists already"):
        write_masks(tmp_path / "out", ribbon, masks, skip_empty=True)
    with pytest.raises(OptionError, match="1 of 1 masks are empty"):
        write_masks(tmp_path / "other", ribbon, {"none": masks["none"]}, skip_empty=True)


# Volumes on vertices


def test_numbers_of_voxels_come_onto_the_vertices(sheets, tmp_path):
    values = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 4, 10))
    nib.save(nib.Nifti1Image(np.array(values), np.eye(4)), tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(volume_values(sheets, "grid", tmp_path / "x.nii.gz"), places_mm()[:, 0])
    mask = (values > 6).astype(np.int16)
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "mask.nii.gz")
    found = volume_values(sheets, "grid", tmp_path / "x.nii.gz", tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(found, np.where(places_mm()[:, 0] > 6, places_mm()[:, 0], 0))


def test_one_volume_of_a_series_must_be_taken_out(sheets, tmp_path):
    nib.save(nib.Nifti1Image(np.ones((12, 4, 10, 750), dtype=np.int16), np.eye(4)), tmp_path / "b.nii.gz")
    with pytest.raises(OptionError) as error:
        volume_values(sheets, "grid", tmp_path / "b.nii.gz")
    assert str(error.value) == (
        f"{tmp_path}/b.nii.gz: holds 750 volumes.\n"
        "  Expected: one volume of shape (12, 4, 10).\n"
        "  What to do: take one volume out of it first."
    )


def test_a_mirrored_volume_of_the_same_shape_is_refused(sheets, tmp_path):
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = 11
    nib.save(nib.Nifti1Image(np.ones((12, 4, 10), dtype=np.int16), mirrored), tmp_path / "m.nii.gz")
    with pytest.raises(SourceError) as error:
        volume_labels(sheets, "grid", tmp_path / "m.nii.gz")
    assert error.value.problem == (
        "lies elsewhere: its first voxel is at [11.0, 0.0, 0.0] mm, its axes run to LAS; "
        "the grid's is at [0.0, 0.0, 0.0] mm, its axes run to RAS"
    )
    assert error.value.expected.endswith("reference.nii.gz, not moved and not mirrored")


# Pictures to draw on


def test_a_picture_lies_below_an_empty_region(sheets):
    values = np.where(LEFT, -1.0, 1.0)
    values[[0, 1, 4, 5]] = np.nan
    add_image_layer(sheets, "faces", values, Scale("bwr", -1.0, 1.0))
    shown = picture(sheets, "faces")
    assert shown.shape == (1024, 3072, 4)
    assert shown[100, 1000].tolist() == [0, 0, 255, 255]
    assert shown[500, 2000].tolist() == [255, 0, 0, 255]
    assert shown[1000, 20, 3] == 0  # unknown
    assert outline_counts(sheets) == {"faces": 0}
    text = sheets.drawing.read_text()
    assert re.search(r'label="img_faces"[^>]*style="display:inline;"', text)
    assert f'width="{3072:.3f}" height="1024"' in text


def test_pictures_are_added_and_replaced_and_the_last_one_is_seen(sheets):
    draw_regions(sheets, label_regions(LEFT.astype(np.int64), {1: "left"}))
    scale = Scale("viridis", 0.0, 1.0)
    add_image_layer(sheets, "left", np.zeros(24), scale)
    add_image_layer(sheets, "b", np.ones(24), scale, with_region=False)
    assert outline_counts(sheets) == {"left": 1}  # an outline that is there stays
    before = sheets.drawing.read_bytes()
    with pytest.raises(OptionError, match="there is a picture 'b' already"):
        add_image_layer(sheets, "b", np.ones(24), scale)
    assert sheets.drawing.read_bytes() == before
    add_image_layer(sheets, "b", np.zeros(24), scale, with_region=False, replace=True)
    assert (picture(sheets, "b") == picture(sheets, "left")).all()
    styles = re.findall(r'label="img_(\w+)"[^>]*style="([^"]*)"', sheets.drawing.read_text())
    assert styles == [("left", "display:none;"), ("b", "display:inline;")]
    with pytest.raises(OptionError, match=r"values have shape \(7,\)"):
        add_image_layer(sheets, "c", np.zeros(7), scale)


# The commands


def run(*arguments) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return f"{int(result.exit_code)} {result.output}"


def write_labels(folder, name: str, values: np.ndarray) -> list:
    paths = [folder / f"{side}.{name}.mgz" for side in ("lh", "rh")]
    for path, half in zip(paths, np.split(values, 2), strict=True):
        nib.save(nib.MGHImage(half.astype(np.float32)[:, None, None], np.eye(4)), path)
    return paths


def test_masks_of_a_drawing_and_of_an_atlas(sheets, tmp_path):
    labels = write_labels(tmp_path, "toy", np.where(LEFT, 1, 2))
    names = tmp_path / "toy.mgz.ctab"
    names.write_text("0 Unknown\n1 west\n2 east\n")
    atlas = ("--labels", *labels, "--names", names)
    given = ("masks", "--store", sheets.store, "sheets", "grid", "--out")
    out = tmp_path / "atlas"
    said = run(
        *given, out, *atlas, "--sampler", "cortical-conservative", "--split", "--skip-empty", "--cortex"
    )
    assert said == (
        f"0 {out}/west_L.nii.gz: 12 voxels\n{out}/east_R.nii.gz: 11 voxels\n{out}/cortex.nii.gz: 23 voxels\n"
    )
    assert run("outlines", "--store", sheets.store, "sheets", *atlas).startswith("0 ")
    thin = run(
        *given, tmp_path / "drawn", "--sampler", "thin", "--region", "west", "--region", "x", "--skip-missing"
    )
    assert re.fullmatch(r"0 .*/drawn/west.nii.gz: \d+ voxels\n", thin)
    assert "give --labels together with --names" in run(*given, tmp_path / "x", "--names", names)
    assert "--threshold needs --sampler" in run(*given, tmp_path / "x", "--threshold", 0.2)
    assert "does not exist" in run(*given, tmp_path / "x", *atlas[:3], "--names", tmp_path / "absent.ctab")


def test_masks_that_cannot_be_what_was_asked_for(sheets, tmp_path):
    out, everywhere = tmp_path / "masks", np.ones(len(LEFT), dtype=bool)
    with pytest.raises(OptionError, match=r"threshold = 0.2 changes nothing with sampler 'cortical'"):
        region_masks(sheets, "grid", {"V1": everywhere}, out, threshold=0.2)
    with pytest.raises(OptionError, match="a region is named cortex"):
        region_masks(sheets, "grid", {"cortex": everywhere}, out, with_cortex=True)
    assert not out.exists()


def test_a_picture_from_voxels_or_vertices(sheets, tmp_path):
    values = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 4, 10))
    nib.save(nib.Nifti1Image(np.array(values), np.eye(4)), tmp_path / "x.nii.gz")
    given = ("image", "--store", sheets.store, "sheets", "x")
    volume = ("--volume", tmp_path / "x.nii.gz", "--transform", "grid")
    assert run(*given, *volume) == f"0 {sheets.drawing}: layer img_x, inferno from 0 to 9\n"
    from_voxels = picture(sheets, "x")
    vertices = ("--values", *write_labels(tmp_path, "x", places_mm()[:, 0]))
    assert run(*given, *vertices, "--replace").startswith("0 ")
    np.testing.assert_array_equal(picture(sheets, "x"), from_voxels)
    assert run(*given, *vertices, *volume).startswith("2 ")

"""A page to leaf through a flat-map data set: photograph, activity, regions, captions and objects."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image

from nsd_bench.cortex.flat import LIMIT, FlatMap, Record, load, read_manifest, read_regions
from nsd_bench.cortex.geometry import signed_area
from nsd_bench.cortex.raster import PixelGrid
from nsd_bench.errors import OptionError, PackageError
from nsd_bench.inputs import reading
from nsd_bench.outputs import new_file, refuse_existing

__all__ = ["view_flat", "viewer_page"]

_COLOURS: Final = "RdBu_r"
_OUTSIDE: Final = 255  # palette index; the highest level shares 254 with its neighbour
_IMAGE_SIDE: Final = 425  # COCO's boxes are in pixels of NSD's own images
_LEAST_PIXELS: Final = 4  # smaller parts of regions are specks


def view_flat(path: Path, out: Path, split: str | None = None, *, n_records: int = 24, seed: int = 0) -> Path:
    """Write a page with a sample of a flat-map data set, as `nsd-bench view-flat` does.

    Parameters
    ----------
    path, split, n_records, seed
        See `viewer_page`.
    out
        Page to write; it appears whole or not at all.

    Returns
    -------
    out

    Raises
    ------
    OutputError
        If the page is there already.
    OptionError
        If no record is asked for.
    PackageError
        If it is not a data set, has no such split, or a file of it is missing or damaged.
    """
    refuse_existing(out)
    page = viewer_page(path, split, n_records=n_records, seed=seed)
    with new_file(out) as file:
        file.write(page.encode())
    return out


def viewer_page(path: Path, split: str | None = None, *, n_records: int = 24, seed: int = 0) -> str:
    """Make the page.

    Parameters
    ----------
    path
        Folder of the data set, in either form.
    split
        A tier; the first one by default.
    n_records
        How many to show: a random sample, or all where there are fewer.
    seed
        Another one draws another sample.

    Returns
    -------
    html
        One file, no other needed; the same arguments give the same bytes. It shows NSD's photographs, and may
        not be passed on.

    Raises
    ------
    OptionError
        If no record is asked for.
    PackageError
        If it is not a data set, or has no such split.
    """
    if n_records < 1:
        raise OptionError(
            f"n_records = {n_records} is not possible",
            place="viewer_page",
            expected="1 or more",
            fix="give a larger number",
        )
    refusal = partial(
        PackageError,
        place=str(path),
        expected="every file that 'nsd-bench export-flat' wrote, whole",
        fix="copy the data set again, or export it again",
    )
    with reading(path, refusal, "is not built as 'nsd-bench export-flat' builds it"):
        manifest = read_manifest(path)
        split = split or next(iter(manifest["n_records"]))
        records = load(path, split)
        rng = np.random.Generator(np.random.Philox(key=seed))
        chosen = np.sort(rng.permutation(len(records))[:n_records]).tolist()
        sample = [records[index] for index in chosen]
        subjects = sorted({record["subject_id"] + 1 for record in sample})
        maps = {subject: FlatMap.read(path, subject) for subject in subjects}
        content = {
            "records": [_shown(record, maps[record["subject_id"] + 1].mask) for record in sample],
            "regions": {
                f"subj{subject:02}": _regions(read_regions(path, subject), maps[subject])
                for subject in subjects
            },
            "side": _IMAGE_SIDE,
        }
        return _template().render(
            name=manifest["name"],
            split=split,
            n_shown=len(sample),
            n_records=len(records),
            limit=LIMIT,
            gradient=", ".join(
                "rgb({}, {}, {})".format(*colour) for colour in _palette()[:_OUTSIDE:2].tolist()
            ),
            size=maps[subjects[0]].mask.shape[::-1],
            terms=manifest["terms"],
            citation=manifest["citation"],
            content=json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
        )


@cache
def _template() -> jinja2.Template:
    text = files("nsd_bench.cortex").joinpath("flat_page.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)


@cache
def _palette() -> npt.NDArray[np.uint8]:
    """Return a colour for each grey level, shape (256, 3)."""
    from matplotlib import colormaps

    colours: npt.NDArray[np.uint8] = colormaps[_COLOURS](np.arange(256), bytes=True)[:, :3]
    return colours


def _shown(record: Record, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "subject": record["subject"],
        "session": record["session_id"] + 1,
        "trial": record["trial_id"],
        "nsd_id": record["nsd_id"],
        "coco": f"{record['coco_split']} {record['coco_id']}",
        "flags": [name for name in ("shared1000", "BOLD5000", "flagged") if record.get(name)],
        "image": _data_uri(record["image"]),
        "activity": _data_uri(_coloured(np.asarray(record["activity"]), mask), transparency=_OUTSIDE),
        "captions": [caption.strip() for caption in record.get("captions") or ()],
        "objects": _objects(record.get("objects") or {}),
    }


def _objects(fields: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return category, box and, but for crowds, outline of each object."""
    boxes = zip(fields.get("category", ()), fields.get("bbox", ()), strict=True)
    outlines = fields.get("segmentation") or [{}] * len(fields.get("category", ()))
    return [
        {"category": category, "bbox": box, "path": _object_path(outline.get("poly") or ())}
        for (category, box), outline in zip(boxes, outlines, strict=True)
    ]


def _object_path(polygons: Sequence[Sequence[float]]) -> str:
    corners = [np.reshape(polygon, (-1, 2)) for polygon in polygons]
    return _svg_path([np.concatenate([polygon, polygon[:1]]) for polygon in corners])


def _coloured(levels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]) -> Image.Image:
    picture = Image.fromarray(np.where(mask, np.minimum(levels, _OUTSIDE - 1), _OUTSIDE).astype(np.uint8))
    picture.putpalette(_palette().tobytes())
    return picture


def _data_uri(picture: Image.Image, **options: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _regions(features: list[dict[str, Any]], flat: FlatMap) -> list[dict[str, Any]]:
    """Return name, SVG path and place of the name of each region to show: of atlases, if there are any."""
    regions = []
    for feature in [one for one in features if one["properties"]["atlas"]] or features:
        parts = [_in_pixels(part, flat.raster.grid) for part in feature["geometry"]["coordinates"]]
        seen = [part for part in parts if _size(part) >= _LEAST_PIXELS and _shows(flat.mask, part[0])]
        if seen:
            largest = max(seen, key=_size)[0]
            region = {
                "name": feature["properties"]["name"],
                "path": _svg_path([ring for part in seen for ring in part]),
                "place": _middle(largest, flat.mask.shape),
            }
            regions.append(region)
    return regions


def _middle(border: npt.NDArray[np.float64], shape: tuple[int, ...]) -> list[float] | None:
    """Return where to write a name; None where that is beside the picture."""
    middle = (border.min(axis=0) + border.max(axis=0)) / 2
    inside = (middle >= 0).all() and (middle <= shape[::-1]).all()
    return middle.round(1).tolist() if inside else None


def _in_pixels(rings: list[Any], grid: PixelGrid) -> list[npt.NDArray[np.float64]]:
    """Turn mm of the flat map into pixels of the picture, upper row first."""
    left, _, _, top = grid.rect
    return [(np.asarray(ring) - (left, top)) * (1, -1) / grid.pixel_mm for ring in rings]


def _size(part: list[npt.NDArray[np.float64]]) -> float:
    return abs(signed_area(part[0]))


def _shows(mask: npt.NDArray[np.bool_], border: npt.NDArray[np.float64]) -> bool:
    """Say whether a border touches a pixel that is drawn."""
    column, row = np.floor(border).astype(np.int64).T
    in_picture = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
    return bool(mask[row[in_picture], column[in_picture]].any())


def _svg_path(loops: Sequence[npt.NDArray[np.float64]]) -> str:
    """Write loops as an SVG path.

    >>> _svg_path([np.array([[0.0, 0.5], [1.0, 0.5], [0.0, 0.5]])])
    'M0.0 0.5L1.0 0.5Z'
    """
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in loop[:-1]) + "Z" for loop in loops)

"""Recipes: TOML files that say what a package contains."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporters.nsd.behaviour import BEHAVIOUR_COLUMNS
from exporters.nsd.betas import FORMATS
from exporters.nsd.layout import SESSIONS
from nsd_bench.errors import RecipeError, choices
from nsd_bench.inputs import read_text, reading
from nsd_bench.package.sealing import TELLS_ORDER

__all__ = [
    "BehaviourRecipe",
    "ImageClassRecipe",
    "ImageRecipe",
    "Recipe",
    "ResponseRecipe",
    "UnitRecipe",
    "known_recipes",
    "load_recipe",
    "load_recipe_values",
    "recipe_text",
    "refuse_order",
]

_FOLDER = Path(__file__).parents[1] / "recipes"
_FITTED = ["betas_fithrf", "betas_fithrf_GLMdenoise_RR"]
_PIXELS = Annotated[int, Field(ge=8, le=425)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResponseRecipe(_Section):
    """Which betas become responses, and how they are scaled.

    Parameters
    ----------
    space, version
        NSD's folders of betas.
    format
        Which of NSD's files of a session to read, where it has two; both hold the same numbers. By default
        the one that is faster to read.
    scale
        "percent": percent signal change. "session_zscore": every unit's betas of a session minus
        their mean over that session's training trials, divided by their standard deviation.
    missing_units
        What to do with units that have no data in one of the sessions: "drop" them, or "error".
    """

    space: Literal["func1pt8mm", "func1mm", "MNI", "fsaverage", "nativesurface"] = "func1pt8mm"
    version: Literal["betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"] = (
        "betas_fithrf_GLMdenoise_RR"
    )
    format: Literal["nii.gz", "hdf5", "mgh"] | None = None
    scale: Literal["percent", "session_zscore"] = "percent"
    missing_units: Literal["drop", "error"] = "drop"

    @property
    def suffix(self) -> str:
        """Suffix of the files to read."""
        return self.format or FORMATS[self.space][0]


class UnitRecipe(_Section):
    """Which voxels become units.

    Parameters
    ----------
    atlas, rois
        Voxels of these regions of this atlas; all labelled voxels where `rois` is empty.
    mask
        One's own choice instead of an atlas: a NIfTI volume on the grid, whose affine is compared, or a .npy
        of the grid's shape, or with a value for each vertex; units where it is above 0 are taken.
    hemispheres
        Which hemispheres to take.
    ncsnr_min
        Least noise-ceiling signal-to-noise ratio, estimated on training trials alone. (NSD's own ncsnr
        cannot serve: its authors fitted it on all sessions, test images among them.)
    labels
        Atlases whose labels every unit carries, so that scores can be given by ROI.
    area
        The one of `labels` that fills Sensorium's `area` column; "" for none.
    """

    atlas: str = "nsdgeneral"
    rois: tuple[str, ...] = ()
    mask: str | None = None
    hemispheres: tuple[Literal["lh", "rh"], ...] = Field(default=("lh", "rh"), min_length=1)
    ncsnr_min: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    labels: tuple[str, ...] = ("prf-visualrois", "floc-faces", "floc-bodies", "floc-places", "streams")
    area: str = "prf-visualrois"


class ImageRecipe(_Section):
    """How photographs are stored.

    Parameters
    ----------
    height, width
        In pixels.
    colour
        "rgb" stores three channels, "grey" one.
    """

    height: _PIXELS = 224
    width: _PIXELS = 224
    colour: Literal["rgb", "grey"] = "rgb"


class ImageClassRecipe(_Section):
    """What is said of an image's content: one word, by COCO's annotations.

    Parameters
    ----------
    level
        Which of COCO's words `frame_image_class` holds: "supercategory" (12), "category" (80) or "none".
        Unless it is "none", tier rules may ask for both, as `supercategory` and `category`.
    mode
        Which object the word is of: the one that is largest in COCO's picture ("picture") or in NSD's crop
        ("crop"), or the kind whose objects together cover most of the picture ("category_sum").
    coco
        Folder of COCO's annotations; by default nsddata_stimuli/stimuli/nsd/annotations below NSD's root.
    """

    level: Literal["none", "supercategory", "category"] = "none"
    mode: Literal["picture", "crop", "category_sum"] = "picture"
    coco: str | None = None


class BehaviourRecipe(_Section):
    """Which columns of responses.tsv are stored.

    Parameters
    ----------
    columns
        Names as NSD has them; RT in ms.
    missing
        Number that stands where nothing was pressed (NaN in NSD).
    """

    columns: tuple[str, ...] = ("ISCORRECT", "RT")
    missing: float = Field(default=-1.0, allow_inf_nan=False)


class Recipe(_Section):
    """What an export contains. Every key has a default but the title.

    Parameters
    ----------
    title
        What this package is for.
    name
        Package names are made of it: `<name>-subj01`.
    kind
        "open": nothing withheld. "track1": responses of test and final_test, all behaviour and the
        order of trials withheld. "track2": as track1, with behaviour that says nothing of the order.
    subjects
        1 to 8.
    sessions
        "all", or session numbers from 1.
    tiers
        Name of a tier file that comes with the project, or the path of one's own.
    seed
        Another seed numbers the files of open packages in another order; in others it comes from the key.
    responses, units, images, image_class, behavior
        The sections of the TOML.
    """

    title: str
    name: str = Field(default="nsd", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    kind: Literal["open", "track1", "track2"] = "open"
    subjects: tuple[int, ...] = Field(default=tuple(SESSIONS), min_length=1)
    sessions: Literal["all"] | tuple[int, ...] = "all"
    tiers: str = "sensorium"
    seed: int = Field(default=0, ge=0)
    responses: ResponseRecipe = ResponseRecipe()
    units: UnitRecipe = UnitRecipe()
    images: ImageRecipe = ImageRecipe()
    image_class: ImageClassRecipe = ImageClassRecipe()
    behavior: BehaviourRecipe = BehaviourRecipe()

    def package_name(self, subject: int) -> str:
        """Return the name of one subject's package.

        Parameters
        ----------
        subject
            1 to 8.
        """
        return f"{self.name}-subj{subject:02}"


def known_recipes() -> list[str]:
    """Return the names of the recipes that come with the project.

    >>> known_recipes()
    ['default', 'demo']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_recipe(name_or_path: str, **changes: Any) -> Recipe:
    """Read a recipe by the name of a shipped one, or by the path of one's own.

    Parameters
    ----------
    name_or_path
        "default", or "my/recipe.toml".
    changes
        Keys of the recipe to replace, as the command line's options do; None changes nothing.

    Raises
    ------
    RecipeError
        If there is none, it is not TOML, or a key or value is wrong; names the nearest key.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _FOLDER / f"{name_or_path}.toml"
    refusal = partial(
        RecipeError,
        place=str(path),
        expected="key = value lines under [sections]",
        fix="compare with exporters/recipes/default.toml",
    )
    with reading(path, refusal, "not TOML"):
        try:
            content = tomllib.loads(read_text(path).decode())
        except FileNotFoundError:
            raise RecipeError(
                f"there is no recipe {name_or_path!r}",
                place="recipe",
                expected=choices(name_or_path, known_recipes()),
                fix="correct the name, or give the path of a .toml file",
            ) from None
    content.update({key: value for key, value in changes.items() if value is not None})
    try:
        recipe = Recipe(**content)
    except ValidationError as error:
        raise _explained(error, path) from error
    _check_values(recipe, path)
    return recipe


def load_recipe_values(values: dict[str, Any], place: Path) -> Recipe:
    """Return the recipe that a manifest keeps the values of.

    Parameters
    ----------
    values
        What a recipe's TOML would hold.
    place
        Where they are from, for errors.

    Raises
    ------
    RecipeError
        If a key or value is wrong; names `place`, the manifest.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise _explained(error, place) from error


def recipe_text(values: Mapping[str, Any]) -> str:
    """Write a recipe's values as TOML; keys without a value are left out.

    Parameters
    ----------
    values
        What a recipe's TOML would hold.

    Examples
    --------
    >>> print(recipe_text({"title": "Mine", "sessions": [1, 2], "units": {"mask": None, "rois": ["V1"]}}))
    title = "Mine"
    sessions = [1, 2]
    <BLANKLINE>
    [units]
    rois = ["V1"]
    <BLANKLINE>
    """
    lines = [_toml(key, value) for key, value in values.items() if not isinstance(value, dict)]
    for section, content in values.items():
        if isinstance(content, dict):
            lines += ["", f"[{section}]", *(_toml(key, value) for key, value in content.items())]
    return "\n".join(line for line in lines if line is not None) + "\n"


def _toml(key: str, value: Any) -> str | None:
    # JSON's numbers, lists and texts are TOML's too, but for one character that JSON does not escape.
    written = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return None if value is None else f"{key} = {written}"


def _explained(error: ValidationError, path: Path) -> RecipeError:
    """Turn the first of pydantic's errors into one of ours."""
    errors = error.errors(include_url=False)
    first, parts = errors[0], _key(errors[0]["loc"])
    key = ".".join(parts)
    if first["type"] == "extra_forbidden":
        section: Any = Recipe if len(parts) == 1 else Recipe.model_fields[parts[0]].annotation
        return RecipeError(
            f"unknown key {key!r}",
            place=str(path),
            expected=choices(parts[-1], section.model_fields),
            fix="correct the key or remove it",
        )
    if first["type"] == "missing":
        return RecipeError(
            f"key {key!r} is missing", place=str(path), expected="a text", fix=f"add: {key} = ..."
        )
    possible = [one["msg"].removeprefix("Input should be ") for one in errors if _key(one["loc"]) == parts]
    return RecipeError(
        f"{key} = {first['input']!r} is not possible",
        place=str(path),
        expected=" or ".join(possible),
        fix="correct the value",
    )


def _key(location: tuple[int | str, ...]) -> list[str]:
    """Leave out what pydantic adds to name the branch of a union, as in "literal['all']"."""
    return [str(part) for part in location if "[" not in str(part)]


def _check_values(recipe: Recipe, path: Path) -> None:
    for subject in recipe.subjects:
        if subject not in SESSIONS or recipe.subjects.count(subject) > 1:
            raise RecipeError(
                f"subjects holds {subject}" + (" twice" if subject in SESSIONS else ""),
                place=str(path),
                expected="some of NSD's subjects 1 to 8, each once",
                fix="correct 'subjects'",
            )
        _check_sessions(recipe, subject, path)
    for column in recipe.behavior.columns:
        if column not in BEHAVIOUR_COLUMNS:
            raise RecipeError(
                f"behavior.columns holds {column!r}",
                place=str(path),
                expected=choices(column, BEHAVIOUR_COLUMNS),
                fix="correct the name",
            )
    refuse_order(recipe, str(path))
    _check_space(recipe.responses, path)
    if recipe.units.area and recipe.units.area not in recipe.units.labels:
        raise RecipeError(
            f"units.area is {recipe.units.area!r}",
            place=str(path),
            expected=choices(recipe.units.area, recipe.units.labels),
            fix="name one of 'labels', or add it to them",
        )


def refuse_order(recipe: Recipe, place: str) -> None:
    """Refuse behaviour that says when a trial was shown, where that is withheld and behaviour is not.

    Parameters
    ----------
    recipe
        What the package contains.
    place
        Where it is from, for errors.

    Raises
    ------
    RecipeError
        If the recipe is of kind "track2" and has such a column.
    """
    for column in recipe.behavior.columns if recipe.kind == "track2" else ():
        if column in TELLS_ORDER:
            free = [name for name in BEHAVIOUR_COLUMNS if name not in TELLS_ORDER]
            raise RecipeError(
                f"behavior.columns holds {column!r}, which {TELLS_ORDER[column]}",
                place=place,
                expected=f"in a package of kind 'track2', whose order is withheld: {', '.join(free)}",
                fix=f"remove {column!r} from 'columns', or make a package of kind 'open' or 'track1'",
            )


def _check_space(wanted: ResponseRecipe, path: Path) -> None:
    """NSD does not have every version in every space, nor every format."""
    versions = {"MNI": ["betas_fithrf"], "func1pt8mm": ["betas_assumehrf", *_FITTED]}
    for key, value, possible in (
        ("version", wanted.version, versions.get(wanted.space, _FITTED)),
        ("format", wanted.suffix, FORMATS[wanted.space]),
    ):
        if value not in possible:
            raise RecipeError(
                f"responses.{key} is {value!r}",
                place=str(path),
                expected=f"{choices(value, possible)}, which NSD has in space {wanted.space!r}",
                fix=f"correct '{key}' or 'space'",
            )


def _check_sessions(recipe: Recipe, subject: int, path: Path) -> None:
    if recipe.sessions == "all":
        return
    for session in recipe.sessions:
        if not 1 <= session <= SESSIONS[subject]:
            raise RecipeError(
                f"subj{subject:02} has no session {session}",
                place=str(path),
                expected=f"sessions 1 to {SESSIONS[subject]}, the {SESSIONS[subject]} that "
                f"subj{subject:02} has in NSD",
                fix=f"remove {session} from 'sessions', or subject {subject} from 'subjects'",
            )
    if not recipe.sessions or sorted(set(recipe.sessions)) != list(recipe.sessions):
        raise RecipeError(
            f"sessions = {list(recipe.sessions)} is not possible",
            place=str(path),
            expected="each session once, ascending, at least one",
            fix="correct 'sessions', or leave it out for all of them",
        )

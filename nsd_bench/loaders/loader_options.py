"""What a loader gives: which units, which images, and what beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from nsd_bench.errors import OptionError, choices

__all__ = ["LoaderOptions", "Presence", "read_options"]

Presence: TypeAlias = Literal["apart", "channels", "none"]


@dataclass(frozen=True)
class LoaderOptions:
    """What a loader gives.

    Parameters
    ----------
    images
        "float32" standardises images; "uint8" leaves them as they are stored.
    areas, layers
        Only units of these areas, and of these layers. As in scores, V1 stands for V1v and V1d.
    rois
        Only units of these regions of the package's atlases: "streams:early", or "floc-faces" for all of an
        atlas.
    unit_ids
        Only these units, in this order.
    n_units, unit_seed, exclude_n_units
        Draw so many units; the seed of the draw is `unit_seed * n_units`, and the first `exclude_n_units`
        that it gives are left out. The same units as Sensorium's loaders draw.
    image_ids
        Only these images in the training tier.
    n_images, image_seed
        Draw so many images in the training tier; the seed of the draw is `image_seed * n_images`.
    image_condition
        Only images of this class, or of these classes, in every tier.
    behavior, eye_position
        "apart": a field `behavior` or `pupil_center` of its own. "channels": also as constant channels behind
        those of the image. "none": not at all. By default behaviour is apart where the package has it.
    input_channel
        Only this channel, or these channels, of the images.
    scale
        Factor by which images are rescaled, linearly between pixels (scikit-image's `rescale`).
    standardise
        Whether to standardise at all.
    exclude
        Kinds of data that are not standardised.
    images_mean, images_std
        What standardises the images instead of the package's own statistics.
    trial_info
        Columns of the trial table that become fields: tensors, or lists of str.
    average_repeats
        One item for each image, with the mean of its responses, behaviour and pupil centre within the tier.
    withheld
        What responses are where the package withholds them: "nan", or "zeros" as in the files.
    """

    images: Literal["float32", "uint8"] = "float32"
    areas: str | Sequence[str] | None = None
    layers: str | Sequence[str] | None = None
    rois: str | Sequence[str] | None = None
    unit_ids: Sequence[int] | None = None
    n_units: int | None = None
    unit_seed: int | None = None
    exclude_n_units: int = 0
    image_ids: Sequence[int] | None = None
    n_images: int | None = None
    image_seed: int | None = None
    image_condition: str | Sequence[str] | None = None
    behavior: Presence | None = None
    eye_position: Presence = "none"
    input_channel: int | Sequence[int] | None = None
    scale: float | None = None
    standardise: bool = True
    exclude: str | Sequence[str] = ()
    images_mean: float | None = None
    images_std: float | None = None
    trial_info: str | Sequence[str] = ()
    average_repeats: bool = False
    withheld: Literal["nan", "zeros"] = "nan"

    def __post_init__(self) -> None:
        for name in _LISTS:
            if isinstance(getattr(self, name), str):  # or else its letters would be the names
                object.__setattr__(self, name, (getattr(self, name),))
        for name, allowed in _WORDS.items():
            value = getattr(self, name)
            if value not in allowed:
                words = [word for word in allowed if word is not None]
                raise _refused(f"{name}={value!r} is unknown", choices(value, words), "give one of these")
        given = {f.name for f in fields(self) if _differs(getattr(self, f.name), f.default)}
        for name, others, reason in _EXCLUSIONS:
            clash = [other for other in others if other in given]
            if name in given and clash and self._clashes(name, clash):
                raise _refused(
                    f"{name!r} and {clash[0]!r} exclude each other",
                    reason,
                    f"leave out {name!r} or {clash[0]!r}",
                )
        for name, needed in _NEEDS:
            if name in given and needed not in given:
                raise _refused(f"{name!r} has no effect alone", f"{needed!r} with it", f"give {needed!r} too")

        if self.scale is not None and not self.scale > 0:
            raise _refused(
                f"scale={self.scale} leaves no image", "a factor above 0", "give 0.5 for half the size"
            )

    def _clashes(self, name: str, clash: list[str]) -> bool:
        """Whether the values clash too: some options do so with "channels" only."""
        values = {getattr(self, other) for other in clash if other in ("behavior", "eye_position")}
        others = [other for other in clash if other not in ("behavior", "eye_position")]
        return bool(others) or "channels" in values


def _differs(value: Any, default: Any) -> bool:
    return value is not default and (hasattr(value, "__array__") or bool(value != default))


_LISTS = ("areas", "layers", "rois", "image_condition", "exclude", "trial_info")
_WORDS: Mapping[str, tuple[str | None, ...]] = {
    "images": ("float32", "uint8"),
    "behavior": ("apart", "channels", "none", None),
    "eye_position": ("apart", "channels", "none"),
    "withheld": ("nan", "zeros"),
}
_EXCLUSIONS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "unit_ids",
        ("n_units", "unit_seed", "exclude_n_units", "areas", "layers", "rois"),
        "units by id, or by area, layer, region and number",
    ),
    (
        "image_ids",
        ("n_images", "image_seed", "image_condition"),
        "images by id, or by number and condition",
    ),
    ("input_channel", ("behavior",), "one channel of the image, or behaviour as further channels"),
    (
        "images",
        ("scale", "images_mean", "images_std", "behavior", "eye_position"),
        "images as they are stored, or arithmetic on them",
    ),
    ("average_repeats", ("trial_info",), "one item for each image, or what differs between its trials"),
)
_NEEDS = (
    ("unit_seed", "n_units"),
    ("exclude_n_units", "unit_seed"),
    ("image_seed", "n_images"),
    ("images_std", "images_mean"),
)


def read_options(given: Mapping[str, Any]) -> LoaderOptions:
    """Return options from keyword arguments.

    Parameters
    ----------
    given
        Name of the option to its value.

    Raises
    ------
    OptionError
        If there is no such option, or two exclude each other.
    """
    known = [field.name for field in fields(LoaderOptions)]
    for name in given:
        if name not in known:
            raise _refused(f"there is no option {name!r}", choices(name, known), "give one of these")
    return LoaderOptions(**given)


def _refused(problem: str, expected: str, fix: str) -> OptionError:
    return OptionError(problem, place="options of the loader", expected=expected, fix=fix)

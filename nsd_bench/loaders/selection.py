"""Which units and which trials the options ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError, choices
from nsd_bench.loaders.loader_options import LoaderOptions
from nsd_bench.package import spec
from nsd_bench.package.ids import locate
from nsd_bench.package.read import Package
from nsd_bench.package.spec import labels_by_roi

__all__ = ["draw", "extra_keys", "select_channels", "select_trials", "select_units", "trial_ids"]

Numbers: TypeAlias = npt.NDArray[np.int64]

_SEEDS: Final = 1 << 32


def select_units(package: Package, options: LoaderOptions) -> Numbers | None:
    """Return columns of the responses, or None for all.

    Parameters
    ----------
    package
        Where the trials lie.
    options
        What is asked for.

    Raises
    ------
    OptionError
        If the package has no such unit, area, layer or region, or too few units.
    """
    unit_ids = package.array(spec.neurons_file("unit_ids"))
    if options.unit_ids is not None:
        return _positions(package, "unit_ids", unit_ids, options.unit_ids)
    chosen = np.ones(len(unit_ids), dtype=bool)
    for column, wanted in (("area", options.areas), ("layer", options.layers)):
        if wanted is not None:
            values = package.array(spec.neurons_file(column))
            chosen &= np.isin(values, _names(package, f"{column}s", wanted, values))
    if options.rois is not None:
        chosen &= _in_rois(package, options.rois)
    columns = np.flatnonzero(chosen)
    if options.n_units is not None:
        if options.exclude_n_units < 0:
            problem = f"exclude_n_units={options.exclude_n_units}"
            raise _cannot(package, problem, "0 or more", "correct 'exclude_n_units'")
        n_drawn = options.exclude_n_units + options.n_units
        columns = _draw(package, "units", columns, n_drawn, options.unit_seed, options.n_units)
        columns = columns[options.exclude_n_units :]
    if not columns.size:
        raise _cannot(package, "no unit is left", "at least one unit", "ask for more areas or layers")
    return None if np.array_equal(columns, np.arange(len(unit_ids))) else columns


def select_trials(package: Package, tier: str | None, options: LoaderOptions) -> Numbers:
    """Return file numbers of the trials of a tier, or of all, ascending.

    Parameters
    ----------
    package
        Where the trials lie.
    tier
        One tier; all trials by default.
    options
        What is asked for.

    Raises
    ------
    PackageError
        If there is no tier of that name.
    OptionError
        If the training tier has no such image or too few, or no image is of that class.
    """
    rows = np.arange(package.n_trials) if tier is None else package.rows(tier)
    ids, classes = trial_ids(package)
    if options.image_condition is not None:
        _refuse_unknown(package, "image_condition", options.image_condition, classes)
        rows = rows[np.isin(classes[rows], list(options.image_condition))]
    if tier != "train":
        return rows
    if options.image_ids is not None:
        _refuse_unknown(package, "image_ids", options.image_ids, ids[rows])
        rows = rows[np.isin(ids[rows], list(options.image_ids))]
    if options.n_images is not None:
        images = np.unique(ids[rows])
        drawn = _draw(package, "images", images, options.n_images, options.image_seed, options.n_images)
        rows = rows[np.isin(ids[rows], drawn)]
    return rows


def extra_keys(package: Package, options: LoaderOptions) -> list[str]:
    """Return the kinds of data that are given beside images and responses.

    Parameters
    ----------
    package
        Where the trials lie.
    options
        What is asked for.

    Raises
    ------
    OptionError
        If the package has not what an option names.
    """
    known = package.data_keys
    behavior = options.behavior or ("apart" if "behavior" in known and package.kind != "track1" else "none")
    keys = []
    for key, option, presence in (
        ("behavior", "behavior", behavior),
        ("pupil_center", "eye_position", options.eye_position),
    ):
        if presence != "none" and key not in known:
            problem = f"{option}={presence!r}, but the package has no {key}"
            raise _cannot(package, problem, choices(key, known), f"leave out {option!r}")
        if presence != "none" and package.kind == "track1":
            problem = f"{option}={presence!r}, but the package withholds {key}: its files hold zeros"
            raise _cannot(package, problem, "a package of kind open or track2", f"leave out {option!r}")
        keys += [key] * (presence != "none")
    if options.exclude:
        _refuse_unknown(package, "exclude", options.exclude, np.array([*known, *options.trial_info]))
    if options.trial_info:
        _refuse_unknown(package, "trial_info", options.trial_info, np.array(package.trial_columns))
    return keys


def select_channels(package: Package, options: LoaderOptions) -> list[int] | None:
    """Return channels of the images, or None for all.

    Parameters
    ----------
    package
        Where the trials lie.
    options
        What is asked for.

    Raises
    ------
    OptionError
        If the images, with what is put behind them, have fewer.
    """
    if options.input_channel is None:
        return None
    wanted: list[int] = np.atleast_1d(options.input_channel).tolist()
    n_channels = package.image_shape[0] + 2 * (options.eye_position == "channels")
    if not wanted or not all(0 <= channel < n_channels for channel in wanted):
        problem = f"input_channel={options.input_channel}, but images have {n_channels} channels"
        raise _cannot(package, problem, f"0 to {n_channels - 1}", "correct 'input_channel'")
    return wanted


def trial_ids(package: Package) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return image id and image class of every trial, by whichever name the package has them.

    Parameters
    ----------
    package
        Where the trials lie.
    """
    for name in ("image_id", "colorframeprojector_image_id"):
        if spec.trials_file(name) in package.store:
            break
    else:
        name = "frame_image_id"
    ids = package.array(spec.trials_file(name))
    column = spec.trials_file(name.replace("_id", "_class"))
    return ids, package.array(column) if column in package.store else np.full(len(ids), "none")


def _draw(
    package: Package, kind: str, among: npt.NDArray[Any], n_drawn: int, seed: int | None, factor: int
) -> npt.NDArray[Any]:
    if not 0 < n_drawn <= len(among):
        raise _cannot(
            package,
            f"there are {len(among)} {kind}, not {n_drawn}",
            f"1 to {len(among)}",
            "ask for fewer" if n_drawn > 0 else "ask for more",
        )
    return draw(among, n_drawn, seed, factor, place=str(package.path))


def draw(
    among: npt.NDArray[Any], n_drawn: int, seed: int | None, factor: int, *, place: str
) -> npt.NDArray[Any]:
    """Draw without replacement, as Sensorium does to the letter: numpy's legacy generator, seed by factor.

    Parameters
    ----------
    among
        Array to draw from.
    n_drawn
        How many.
    seed
        None stands for 0.
    factor
        What the seed is multiplied with.
    place
        What is drawn for, for the error.

    Raises
    ------
    OptionError
        If that generator does not take the product as its seed; names `place`.
    """
    product = (seed or 0) * factor
    if not 0 <= product < _SEEDS:
        raise OptionError(
            f"the seed of the draw, {seed} times {factor}, is {product}",
            place=place,
            expected=f"0 or more and below {_SEEDS}, as numpy's legacy generator takes it",
            fix="give another seed",
        )
    return np.random.RandomState(product).choice(among, size=n_drawn, replace=False)


def _positions(package: Package, option: str, known: npt.NDArray[Any], wanted: Iterable[Any]) -> Numbers:
    wanted = np.asarray(list(wanted))
    _refuse_unknown(package, option, wanted, known)
    once, counts = np.unique(wanted, return_counts=True)
    if counts.max() > 1:
        problem = f"{option} asks for {once[counts.argmax()].item()!r} {counts.max()} times"
        raise _cannot(package, problem, "every unit once", f"correct {option!r}")
    return locate(wanted, known)[0]


def _names(package: Package, option: str, wanted: Sequence[str], known: npt.NDArray[Any]) -> list[str]:
    """Return the names in the package's table: V1 stands for V1v and V1d, as in scores."""
    names = dict(enumerate(np.unique(known).tolist()))
    parts = labels_by_roi(names)
    _refuse_unknown(package, option, wanted, np.array(list(parts)))
    return [names[label] for name in wanted for label in parts[name]]


def _in_rois(package: Package, wanted: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which units lie in one of the regions: "streams:early", or "streams" for all of an atlas."""
    labels_of: dict[str, tuple[str, list[int]]] = {}
    for atlas, names in package.roi_names.items():
        labels_of[atlas] = (atlas, list(names))
        labels_of |= {f"{atlas}:{part}": (atlas, labels) for part, labels in labels_by_roi(names).items()}
    _refuse_unknown(package, "rois", wanted, np.array(list(labels_of)))
    inside = np.zeros(package.n_units, dtype=bool)
    for atlas, labels in (labels_of[name] for name in wanted):
        inside |= np.isin(package.array(spec.neurons_file(spec.roi_column(atlas))), labels)
    return inside


def _refuse_unknown(package: Package, option: str, wanted: Iterable[Any], known: npt.NDArray[Any]) -> None:
    values = np.asarray(list(wanted))
    if not values.size:
        raise _cannot(package, f"{option} is empty", "at least one", f"leave out {option!r} to have all")
    missing = values[~np.isin(values, known)]
    if missing.size:
        valid = np.unique(known).tolist()
        raise _cannot(
            package,
            f"{option} asks for {missing[0].item()!r}, which is not there",
            choices(missing[0], valid),
            f"correct {option!r}",
        )


def _cannot(package: Package, problem: str, expected: str, fix: str) -> OptionError:
    return OptionError(problem, place=str(package.path), expected=expected, fix=fix)

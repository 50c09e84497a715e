"""The package format, version 1: file names, dtypes, columns and allowed words.

Where a thing lies inside a package, and what lies beside it, is said here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "BEHAVIOR_NAMES",
    "CHECKSUMS",
    "COMPANION_TIERS",
    "CONFIG",
    "DATA",
    "DATA_KEYS",
    "DESIGN_SUFFIX",
    "FIT_ON",
    "FORMAT_VERSION",
    "KINDS",
    "LEFT_OUT",
    "LOCK_SUFFIX",
    "MANIFEST",
    "MANIFEST_KEYS",
    "MANIFEST_TYPES",
    "NEURONS",
    "NEURON_COLUMNS",
    "NORMALIZATION",
    "NORMALIZATION_SUFFIX",
    "OPEN_TRIAL_COLUMNS",
    "PACKED_SUFFIX",
    "ROI_NAMES",
    "SEALING",
    "STATISTICS",
    "STATISTICS_FOLDER",
    "STATISTICS_GROUPS",
    "SUBMISSION_CSV_SUFFIX",
    "SUBMISSION_SUFFIX",
    "TABLES",
    "TERMS",
    "TIERS",
    "TIER_ALIASES",
    "TRIALS",
    "TRIAL_COLUMNS",
    "TRUTH_SUFFIX",
    "WITHHELD_TIERS",
    "ZIP_SUFFIX",
    "atlas_of",
    "column_of",
    "data_file",
    "data_folder",
    "data_key_of",
    "labels_by_roi",
    "neurons_file",
    "normalization_file",
    "package_stem",
    "roi_column",
    "statistics_file",
    "trials_file",
]

FORMAT_VERSION: Final = 1

KINDS: Final = ("open", "track1", "track2")
"""`open`: nothing withheld. `track1`: responses of the withheld tiers, all behaviour and all order.
`track2`: as track1, but behaviour is present."""

SEALING: Final = {"file_order": "key"}
"""What the manifest of a withholding package says of its sealing; those made before nsd-bench 0.2 lack it."""

TIERS: Final = ("train", "validation", "test", "final_test")
WITHHELD_TIERS: Final = ("test", "final_test")
COMPANION_TIERS: Final = ("vision", "imagery", "ood")
"""Tiers of packages that go with another, on which their models were trained."""
TIER_ALIASES: Final = {"live_test": "test"}

DATA_KEYS: Final = ("images", "responses", "behavior")
STATISTICS: Final = ("mean", "std", "min", "max", "median")
STATISTICS_GROUPS: Final = ("all", "stimulus_Frame")

TRIAL_COLUMNS: Final = ("tiers", "trial_idx", "frame_image_id", "frame_image_class")
OPEN_TRIAL_COLUMNS: Final = ("session", "run", "nsd_id", "coco_id", "repeat")
NEURON_COLUMNS: Final = (
    "unit_ids",
    "animal_ids",
    "sessions",
    "scan_idx",
    "area",
    "layer",
    "cell_motor_coordinates",
    "ncsnr",
)

CONFIG: Final = "config.json"
MANIFEST: Final = "manifest.json"
MANIFEST_KEYS: Final = (
    *(("name",), ("sessions",), ("citation",)),
    *(("tiers", "name"), ("tiers", "title"), ("exporter", "version"), ("exporter", "source_sha256")),
    *(("recipe", "values", "responses", name) for name in ("space", "version", "scale")),
)
"""What every manifest says: keys, one inside the other."""
MANIFEST_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(("format", "name", "title", "kind", "checksums", "citation"), str),
    **dict.fromkeys(("subject", "n_units", "n_files"), int),
    **dict.fromkeys(("sessions", "withheld_tiers"), list),
    **dict.fromkeys(("n_trials", "units_dropped", "commitments", "fitted"), dict),
    **dict.fromkeys(("recipe", "recipe.values", "recipe.values.responses", "recipe.values.units"), dict),
    **dict.fromkeys(("tiers", "exporter", "companion_of"), dict),
    **dict.fromkeys(("tiers.name", "tiers.title", "tiers.text", "companion_of.name"), str),
    **dict.fromkeys(("exporter.version", "exporter.source_sha256"), str),
}
"""What the manifest's values are, by keys one inside the other; no package needs all of them."""
CHECKSUMS: Final = "checksums.sha256"
"""Digest of every other file but the manifest, as `sha256sum --check` reads it."""
TERMS: Final = "TERMS.md"
DATA: Final = "data/"
"""Below it, a folder for each kind of data and a file for each trial."""
TABLES: Final = "meta/"
TRIALS: Final = f"{TABLES}trials/"
NEURONS: Final = f"{TABLES}neurons/"
STATISTICS_FOLDER: Final = f"{TABLES}statistics/"
NORMALIZATION: Final = f"{TABLES}normalization/"
"""Open packages: per-session mean and standard deviation that were removed from the responses, float64."""
BEHAVIOR_NAMES: Final = f"{TABLES}behavior_names.json"
ROI_NAMES: Final = f"{TABLES}roi_names.json"
FIT_ON: Final = f"{STATISTICS_FOLDER}fit_on.json"

ZIP_SUFFIX: Final = ".zip"
PACKED_SUFFIX: Final = ".packed"
"""Of what `nsd-bench pack` makes of a package."""
TRUTH_SUFFIX: Final = ".truth.npz"
NORMALIZATION_SUFFIX: Final = ".normalization.npz"
"""The same of a withholding package, private: inside it would tell the session of every trial."""
LOCK_SUFFIX: Final = ".lock.json"
DESIGN_SUFFIX: Final = ".design.csv"
"""One row per trial of the sessions, with what tier rules may ask; private, as it names every image."""
LEFT_OUT: Final = "left-out"
"""Folder beside packages that keeps, as `left-out/<package>`, the trials that tiers left out of each."""
SUBMISSION_SUFFIX: Final = ".submission.npz"
SUBMISSION_CSV_SUFFIX: Final = ".submission.csv"
"""Sensorium's table."""

_ROI_PREFIX: Final = "roi_"


def data_file(key: str, index: int) -> str:
    """Path of one trial's array inside a package.

    Parameters
    ----------
    key
        Kind of data, one of `DATA_KEYS`.
    index
        Number of the trial's file, from 0.

    Examples
    --------
    >>> data_file("images", 7)
    'data/images/7.npy'
    """
    return f"{DATA}{key}/{index}.npy"


def data_folder(key: str) -> str:
    """Path of the folder with one kind of data of all trials.

    Parameters
    ----------
    key
        Kind of data, one of `DATA_KEYS`.

    Examples
    --------
    >>> data_folder("images")
    'data/images/'
    """
    return f"{DATA}{key}/"


def data_key_of(name: str) -> str | None:
    """Kind of data that a file holds, or None for a table or anything else.

    Parameters
    ----------
    name
        Path of a file inside a package.

    Examples
    --------
    >>> data_key_of("data/images/7.npy"), data_key_of("meta/roi_names.json")
    ('images', None)
    """
    return name.removeprefix(DATA).partition("/")[0] if name.startswith(DATA) else None


def column_of(name: str, table: str) -> str | None:
    """Column that a file of a table (`TRIALS` or `NEURONS`) holds, or None if it is no such file.

    Parameters
    ----------
    name
        Path of a file inside a package.
    table
        `TRIALS` or `NEURONS`.

    Examples
    --------
    >>> column_of("meta/trials/tiers.npy", TRIALS), column_of("meta/trials/tiers.npy", NEURONS)
    ('tiers', None)
    """
    is_column = name.startswith(table) and name.endswith(".npy")
    return name[len(table) : -len(".npy")] if is_column else None


def package_stem(file_name: str) -> str:
    """Name that a package shares with what lies beside it, be it a folder, a zip or packed.

    Parameters
    ----------
    file_name
        Name of the folder or file that holds a package, without the folders above it.

    Examples
    --------
    >>> package_stem("nsd-subj01.zip"), package_stem("nsd-subj01.packed"), package_stem("nsd-subj01")
    ('nsd-subj01', 'nsd-subj01', 'nsd-subj01')
    """
    return file_name.removesuffix(ZIP_SUFFIX).removesuffix(PACKED_SUFFIX)


def neurons_file(column: str) -> str:
    """Path of one column of the unit table.

    Parameters
    ----------
    column
        Name of the column; `NEURON_COLUMNS` are in every package.
    """
    return f"{NEURONS}{column}.npy"


def trials_file(column: str) -> str:
    """Path of one column of the trial table.

    Parameters
    ----------
    column
        Name of the column; `TRIAL_COLUMNS` are in every package.
    """
    return f"{TRIALS}{column}.npy"


def statistics_file(key: str, group: str, statistic: str) -> str:
    """Path of one statistic.

    Parameters
    ----------
    key
        Kind of data, one of `DATA_KEYS`.
    group
        One of `STATISTICS_GROUPS`.
    statistic
        One of `STATISTICS`.

    Examples
    --------
    >>> statistics_file("responses", "all", "std")
    'meta/statistics/responses/all/std.npy'
    """
    return f"{STATISTICS_FOLDER}{key}/{group}/{statistic}.npy"


def normalization_file(name: str) -> str:
    """Path of one array of what z-scores within sessions took out: `sessions`, `mean` or `std`.

    Parameters
    ----------
    name
        Name of the array.
    """
    return f"{NORMALIZATION}{name}.npy"


def roi_column(atlas: str) -> str:
    """Name of the unit-table column that holds an atlas' labels.

    Parameters
    ----------
    atlas
        NSD's name of the atlas, such as streams.

    Examples
    --------
    >>> roi_column("prf-visualrois")
    'roi_prf-visualrois'
    """
    return _ROI_PREFIX + atlas


def atlas_of(column: str) -> str | None:
    """Atlas whose labels a unit-table column holds, or None if it holds none.

    Parameters
    ----------
    column
        Name of a column of the unit table.

    Examples
    --------
    >>> atlas_of("roi_streams"), atlas_of("area")
    ('streams', None)
    """
    return column.removeprefix(_ROI_PREFIX) if column.startswith(_ROI_PREFIX) else None


def labels_by_roi(names: Mapping[int, str]) -> dict[str, list[int]]:
    """Return the labels that make up each region of an atlas.

    Next to the atlas' own names stands "V1" wherever it has both V1v and V1d.

    Parameters
    ----------
    names
        Label to name, without 0.

    Examples
    --------
    >>> labels_by_roi({1: "V1v", 2: "V1d", 7: "hV4"})
    {'V1v': [1], 'V1d': [2], 'hV4': [7], 'V1': [1, 2]}
    """
    by_name: dict[str, list[int]] = {}
    for label, name in sorted(names.items()):
        by_name.setdefault(name, []).append(label)
    for name in list(by_name):
        area, dorsal = name[:-1], name[:-1] + "d"
        if name.endswith("v") and dorsal in by_name and area not in by_name:
            by_name[area] = sorted(by_name[name] + by_name[dorsal])
    return by_name

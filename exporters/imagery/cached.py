"""Index rows of the cache layout: sessions as 4-D files, trials in a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from exporters.imagery.layout import CacheLayout, subject_name
from exporters.imagery.rows import finished_rows, missing_data, valid_volumes
from nsd_bench.errors import SourceError
from nsd_bench.imagery.cache import relative_to_cache
from nsd_bench.imagery.index import EXTRA_COLUMNS
from nsd_bench.imagery.trial import CONDITIONS

__all__ = ["MANIFEST_COLUMNS", "STIMULUS_COLUMNS", "cached_rows", "read_manifest"]

MANIFEST_COLUMNS: Final = ("trial_id", "session", "trial_in_session", "condition", "nsd_id")
"""What a trial manifest must have; `beta_index` is `trial_in_session` where it has none."""
STIMULUS_COLUMNS: Final = ("nsd_id", "coco_id")
_NUMBERS: Final = frozenset({"session", "trial_in_session", "nsd_id", "coco_id"})
_GIVEN: Final = [name for name in EXTRA_COLUMNS if name not in {"stimulus", "source_trial_id"}]


def read_manifest(path: Path, required: tuple[str, ...] = MANIFEST_COLUMNS) -> pd.DataFrame:
    """Read one of the layout's tables.

    Raises
    ------
    SourceError
        If it cannot be read, lacks a column, or has a condition or number that there cannot be.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise _wrong(path, f"cannot be read ({error})", required) from error
    missing = [name for name in required if name not in table]
    if missing:
        raise _wrong(path, f"lacks the columns {', '.join(missing)}", required)
    for name in _NUMBERS & set(required):
        known = table[name].dropna()
        odd = known[pd.to_numeric(known, errors="coerce").mod(1) != 0]
        if len(odd):
            raise _wrong(path, f"holds the {name} {odd.iloc[0]!r}", ("whole numbers",))
    if "condition" in required and not table["condition"].isin(CONDITIONS).all():
        odd = table.loc[~table["condition"].isin(CONDITIONS), "condition"].iloc[0]
        raise _wrong(path, f"holds the condition {odd!r}", CONDITIONS)
    return table


def _wrong(path: Path, problem: str, expected: tuple[str, ...]) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=", ".join(expected),
        fix="correct the table; docs/imagery.md describes the layout",
    )


def _stimuli(path: Path) -> pd.DataFrame:
    table = read_manifest(path, STIMULUS_COLUMNS)
    twice = table.loc[table["nsd_id"].duplicated(), "nsd_id"]
    if len(twice):
        raise _wrong(path, f"lists the nsd_id {twice.iloc[0]} more than once", ("one row a stimulus",))
    return table.set_index("nsd_id")


def _names(manifest: pd.DataFrame) -> pd.Series[str]:
    """Name what was seen or imagined: as the manifest does, else by its image."""
    nsd_id = manifest["nsd_id"].astype("Int64")
    by_image = nsd_id.map("nsd-{}".format, na_action="ignore").astype(object)
    if "stimulus" not in manifest:
        return by_image
    return manifest["stimulus"].astype(object).fillna(by_image)


def cached_rows(layout: CacheLayout, subject: int) -> pd.DataFrame:
    """List the trials of one subject as rows of an index.

    Raises
    ------
    SourceError
        If files are missing, or a manifest names a session without betas.
    OptionError
        If the betas lie outside the cache root.
    """
    name, path = subject_name(subject), layout.manifest(subject)
    if not path.is_file():
        available = [subject_name(one) for one in layout.subjects()]
        raise missing_data(name, path, available)
    manifest = read_manifest(path).sort_values(["session", "trial_in_session"], ignore_index=True)
    betas = layout.betas(subject)
    absent = sorted(set(manifest["session"]) - set(betas))
    if absent:
        raise missing_data(f"{name}, session {absent[0]}", path, [f"session {one}" for one in betas])
    valid = {session: valid_volumes(file) for session, file in betas.items()}
    beta_index = manifest["beta_index" if "beta_index" in manifest else "trial_in_session"]
    nsd_id = manifest["nsd_id"].astype("Int64")
    of_image = _stimuli(layout.stimulus_table)
    described = {column: nsd_id.map(of_image[column]) for column in _GIVEN if column in of_image}
    given = {column: manifest[column] for column in _GIVEN if column in manifest}
    rows = pd.DataFrame({**described, **given}).assign(
        subject=name,
        session=manifest["session"],
        trial_in_session=manifest["trial_in_session"],
        condition=manifest["condition"],
        nsd_id=nsd_id,
        coco_id=nsd_id.map(of_image["coco_id"]).astype("Int64"),
        beta_path=[relative_to_cache(betas[session], layout.root) for session in manifest["session"]],
        beta_index=beta_index,
        is_valid=[
            0 <= index < len(valid[session]) and valid[session][index]
            for session, index in zip(manifest["session"], beta_index, strict=True)
        ],
        stimulus=_names(manifest),
        source_trial_id=manifest["trial_id"].astype(str),
    )
    return finished_rows(rows, subject)

"""What a package's statistics, z-scores and units were fitted on: what it says, and what the numbers say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nsd_bench import spec
from nsd_bench.issues import Issue
from nsd_bench.package import Package
from tiers.gallery import Gallery
from tiers.leakage import Found
from tiers.moments import Summary, merged, summarise
from tiers.stored import FIX, Stored, compared, read_stored
from tiers.watches import ChosenUnits, SameTrials, Watch, ZScores, sessions_of

__all__ = ["check_data"]

_BLOCK_BYTES = 1 << 22


def check_data(package: Package, gallery: Gallery) -> dict[str, Found]:
    """Read the data of every trial once, but for its image, and say what was fitted on which trials.

    Returns
    -------
    found
        "fits": statistics, z-scores or units that were fitted on other trials than those of the train tier.
        "trials": the same trial in two tiers.
    """
    same, zscores = SameTrials(package), ZScores(package)
    issues = _strangers(package)
    numbers: dict[str, Any] = {
        "fitted on trials": len(_fitted_on(package)),
        "said by the manifest": package.manifest.get("fitted", {}),
    }
    why = _not_comparable(package)
    statistics: dict[str, Any] = {}
    with ChosenUnits(package) as chosen:
        for key in package.data_keys:
            if key == "images":
                stored, sums = gallery.stored, gallery.sums
            else:
                stored = read_stored(package, key)
                sums = _read(package, key, stored, (same, zscores, chosen) if key == "responses" else ())
            if why:
                statistics[key] = why
                continue
            found, statistics[key] = compared(package, key, stored, sums)
            issues += found
        for watch in (zscores, chosen):
            if not why:
                issues += watch.found().issues
                numbers |= watch.found().numbers
    return {"fits": Found(issues, numbers | {"statistics": statistics}), "trials": same.found()}


def _not_comparable(package: Package) -> str:
    if "companion_of" in package.manifest:
        return "not checked: it has those of the package that it goes with"
    return "" if (package.tiers == "train").any() else "not checked: there is no training trial"


def _fitted_on(package: Package) -> list[str]:
    named = package.fit_on.get("trial_idx") if isinstance(package.fit_on, dict) else None
    return [str(trial) for trial in named] if isinstance(named, list) else []


def _strangers(package: Package) -> list[Issue]:
    """Compare the trials that fit_on.json names with those of the train tier."""
    if "companion_of" in package.manifest:
        return []
    fitted, ids = _fitted_on(package), map(str, package.array(spec.trials_file("trial_idx")).tolist())
    if not fitted:
        problem = "names no trials: nothing says what the statistics were fitted on"
        return [Issue("warning", spec.FIT_ON, problem, FIX)]
    tier_of = dict(zip(ids, package.tiers.tolist(), strict=True))
    strangers = [trial for trial in fitted if tier_of.get(trial) != "train"]
    missing = {trial for trial, tier in tier_of.items() if tier == "train"}.difference(fitted)
    issues = []
    if strangers:
        tiers = sorted({tier_of.get(trial, "no tier") for trial in strangers})
        problem = f"{len(strangers)} trials outside the train tier ({', '.join(tiers)}), {strangers[0]} first"
        issues.append(Issue("error", spec.FIT_ON, problem, FIX))
    if missing:
        issues.append(Issue("warning", spec.FIT_ON, f"{len(missing)} training trials are not named", FIX))
    return issues


def _read(package: Package, key: str, stored: Stored, watches: Sequence[Watch]) -> dict[str, Summary]:
    """Read one kind of data of all trials, session by session; return tier to the summary of its trials."""
    arrays, sessions = package.trial_arrays(key), sessions_of(package)
    if sessions is None:
        sessions = np.zeros(package.n_trials, dtype=np.int64)
    n_columns = int(np.prod(arrays.shape))
    n_rows = max(1, _BLOCK_BYTES // (8 * max(1, n_columns)))
    sums: dict[str, Summary] = {}
    for session in np.unique(sessions).tolist():
        here: dict[str, Summary] = {}
        for tier in (tier for tier in spec.TIERS if tier in package.tiers):
            rows = np.flatnonzero((sessions == session) & (package.tiers == tier))
            for start in range(0, len(rows), n_rows):
                block = rows[start : start + n_rows]
                values = arrays.gather(block).reshape(len(block), n_columns)
                for watch in watches:
                    watch.trials(tier, block, values)
                _add(here, tier, summarise(values, stored.guess))
        for watch in watches:
            watch.session(session, here)
        for tier, summary in here.items():
            _add(sums, tier, summary)
    return sums


def _add(sums: dict[str, Summary], tier: str, summary: Summary) -> None:
    sums[tier] = merged([sums[tier], summary]) if tier in sums else summary

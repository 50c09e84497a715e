"""What a package's statistics and z-scores were fitted on: what it says, and what the numbers say."""

from __future__ import annotations

import numpy as np

from nsd_bench import spec
from nsd_bench.issues import Issue
from nsd_bench.package import Package
from tiers.gallery import Gallery
from tiers.leakage import Found, Thresholds

__all__ = ["check_fits"]

_FIX = "Apply the tiers again with 'nsd-bench tiers apply', or export the package again"
_BLOCK_TRIALS = 512
_TOLERANCE = 1e-3


def check_fits(package: Package, gallery: Gallery, thresholds: Thresholds) -> Found:
    """Find statistics or z-scores that were fitted on other trials than those of the train tier."""
    return Found(
        [*_strangers(package), *_means(package), *_zscores(package)],
        {
            "fitted on trials": len(package.fit_on.get("trial_idx", [])),
            "said by the manifest": package.manifest.get("fitted", {}),
        },
    )


def _strangers(package: Package) -> list[Issue]:
    ids = package.array(spec.trials_file("trial_idx"))
    fitted = np.array(package.fit_on.get("trial_idx", []), dtype=ids.dtype)
    strangers = np.setdiff1d(fitted, ids[package.tiers == "train"])
    missing = np.setdiff1d(ids[package.tiers == "train"], fitted)
    issues = []
    if strangers.size:
        tiers = np.unique(package.tiers[np.isin(ids, strangers)]).tolist() or ["no tier"]
        problem = f"{strangers.size} trials outside the train tier ({', '.join(tiers)}), {strangers[0]} first"
        issues.append(Issue("error", spec.FIT_ON, problem, _FIX))
    if missing.size:
        issues.append(Issue("warning", spec.FIT_ON, f"{missing.size} training trials are not named", _FIX))
    return issues


def _means(package: Package) -> list[Issue]:
    """Compare the stored mean of responses with that of the training trials."""
    name = spec.statistics_file("responses", "all", "mean")
    rows = package.rows("train")
    if not rows.size:
        return []
    total = np.zeros(package.n_units)
    for start in range(0, len(rows), _BLOCK_TRIALS):
        total += package.responses(rows[start : start + _BLOCK_TRIALS]).sum(axis=0, dtype=np.float64)
    std = package.statistic("responses", "std").astype(np.float64)
    error = np.abs(total / len(rows) - package.statistic("responses", "mean"))
    wrong = error > _TOLERANCE * np.maximum(std, np.finfo(np.float32).eps)
    if not wrong.any():
        return []
    problem = f"is not the mean over training trials, for {wrong.sum()} of {len(wrong)} units"
    return [Issue("error", name, problem, _FIX)]


def _zscores(package: Package) -> list[Issue]:
    """Check that z-scores have mean 0 over the training trials of a session, if sessions are known."""
    recipe = package.manifest.get("recipe", {}).get("values", {})
    zscored = recipe.get("responses", {}).get("scale") == "session_zscore"
    if not zscored or "session" not in package.trial_columns:
        return []
    sessions, train = package.trials["session"].to_numpy(), package.tiers == "train"
    for session in np.unique(sessions).tolist():
        rows = np.flatnonzero(train & (sessions == session))
        mean = package.responses(rows).mean(axis=0, dtype=np.float64)
        if np.abs(mean).max(initial=0) > _TOLERANCE:
            problem = (
                f"session {session} was z-scored on other trials than those of the train tier: training "
                f"trials have a mean of up to {np.abs(mean).max():.3f}"
            )
            return [Issue("error", "data/responses/", problem, _FIX)]
    return []

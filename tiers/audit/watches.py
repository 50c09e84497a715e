"""What data tell while they are read once: which trials things were fitted on, and trials given twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, PackageError
from nsd_bench.outputs import scratch_array
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.statistics import ncsnr_on
from tiers.audit.gallery import Gallery
from tiers.audit.leakage import Found
from tiers.audit.moments import Summary, merged, summarise
from tiers.audit.stored import FIX, Stored, compared, read_stored, unions
from tiers.rewrite.renormalise import Normalization, read_normalization

__all__ = ["check_data"]

_CENTRED = 1e-5
"""How far from 0 the mean, and from 1 the deviation, of z-scores kept in float32 may be."""
_PER_PERCENT = 300
"""NSD stores the betas of volumes and native surfaces as whole numbers, 300 to a percent."""
_WHOLE = 0.05
"""How far from whole numbers betas may be that were z-scored in float32: they are 0.001 off at most."""
_REACHED = 1e-4
"""How far below the threshold an ncsnr may be that was computed from rounded responses."""
_FEWEST_UNITS = 4
"""Fewer whole numbers than that agree in two trials by chance."""
_ONCE = "Keep every trial once, in one tier"


class _Watch(Protocol):
    """Sees the responses of all trials pass, session by session and tier by tier."""

    def trials(self, tier: str, rows: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """See some trials of one session and tier.

        Parameters
        ----------
        tier
            Tier of these trials.
        rows : int64 array of shape (n,)
            Which trials, by row of the trial table.
        values : array of shape (n, n_units)
            Their responses.
        """

    def session(self, session: int, sums: dict[str, Summary]) -> None:
        """See the end of a session.

        Parameters
        ----------
        session
            Its number; 0 for all trials where sessions are not told.
        sums
            Tier to the summary of its trials in this session.
        """

    def found(self) -> Found:
        """Return what was found, after all trials have passed."""


def _sessions_of(package: Package) -> npt.NDArray[np.int64] | None:
    """Return the session of every trial; None where a package does not tell it.

    Parameters
    ----------
    package
        Whose trials they are.

    Returns
    -------
    sessions : int64 array of shape (n_trials,), or None
    """
    if "session" not in package.trial_columns:
        return None
    sessions = package.array(spec.trials_file("session"))
    return sessions.astype(np.int64) if sessions.dtype.kind in "iu" else None


def _recipe(package: Package, part: str) -> dict[str, Any]:
    """Return a part of the recipe, empty where there is none."""
    found: Any = package.manifest
    for key in ("recipe", "values", part):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


class _ZScores:
    """Whether z-scores within sessions have mean 0 and deviation 1 over training trials.

    Where sessions are not told, as in a package that withholds, they are looked at all together: their mean
    is 0 too, and the squares sum to the number of trials less that of sessions.

    Parameters
    ----------
    package
        Whose responses pass.
    """

    def __init__(self, package: Package) -> None:
        self._package, self._sessions = package, _sessions_of(package)
        self._zscored = _recipe(package, "responses").get("scale") == "session_zscore"
        self._normalization, self._why = self._owned() if self._zscored else (None, "")
        self._fits: dict[int, list[str]] = {}
        self._off = 0.0
        self._lost: dict[int, float] = {}

    def _owned(self) -> tuple[Normalization | None, str]:
        """Return what was taken out of the betas, or why it cannot be compared with them."""
        if _recipe(self._package, "responses").get("format") == "mgh":
            return None, "not checked: betas on fsaverage are no whole numbers"
        if self._sessions is None:
            return None, "not checked: a package that withholds does not tell sessions"
        try:
            found = read_normalization(self._package)
        except (PackageError, ValueError) as error:
            return None, f"not checked: {getattr(error, 'problem', error)}"
        if found is None:
            return None, "not checked: the package has none"
        n_units = self._package.n_units
        if found.sessions.ndim != 1 or {found.mean.shape, found.std.shape} != {
            (len(found.sessions), n_units)
        }:
            return None, f"not checked: mean of shape {found.mean.shape} for {n_units} units"
        return found, ""

    def trials(self, tier: str, rows: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """Try whether what was taken out of the betas of a session leads back to whole numbers.

        Parameters
        ----------
        tier, rows, values
            See `_Watch.trials`.
        """
        if self._normalization is None or self._sessions is None or self._package.is_withheld(tier):
            return
        session = int(self._sessions[rows[0]])
        at = np.flatnonzero(self._normalization.sessions == session)
        if session in self._lost or not at.size:
            return
        with np.errstate(invalid="ignore", over="ignore"):
            betas = values * self._normalization.std[at[0]] + self._normalization.mean[at[0]]
            off = np.abs(betas * _PER_PERCENT - np.rint(betas * _PER_PERCENT))
        self._lost[session] = float(off.max())

    def session(self, session: int, sums: dict[str, Summary]) -> None:
        """Find the tiers over which the mean is 0 and the deviation 1.

        Parameters
        ----------
        session, sums
            See `_Watch.session`.
        """
        n_sessions = 1 if self._sessions is not None else len(self._package.manifest.get("sessions", []))
        known = {tier: one for tier, one in sums.items() if not self._package.is_withheld(tier)}
        if self._zscored and n_sessions and "train" in known:
            off = {name: _off_standard(one, n_sessions) for name, one in unions(known).items()}
            self._fits[session] = [name for name, value in off.items() if value <= _CENTRED]
            self._off = max(self._off, off["train"])

    def found(self) -> Found:
        """Return an error where a session was z-scored on other trials."""
        if not self._zscored:
            return Found([], {"session z-score": "none"})
        if not self._fits:
            return Found([], {"session z-score": "not checked: the number of sessions is not told"})
        said = {tuple(fits) for fits in self._fits.values()}
        every = {str(session): fits for session, fits in self._fits.items()}
        lost = [session for session, off in self._lost.items() if not off <= _WHOLE]
        issues, normalization = self._strangers(), self._why or "leads back to whole betas"
        if lost:
            normalization = "does not lead back to whole betas"
            problem = f"{normalization}: {_sessions(lost)} z-scored with something else"
            issues.append(Issue("error", spec.NORMALIZATION, problem, FIX))
        fits = list(said.pop()) if len(said) == 1 else every
        return Found(issues, {"session z-score": fits, "normalization": normalization})

    def _strangers(self) -> list[Issue]:
        wrong = [session for session, fits in self._fits.items() if "train" not in fits]
        if not wrong:
            return []
        which = "responses were" if self._sessions is None else _sessions(wrong)
        fit = next((name for name in self._fits[wrong[0]] if all(name in self._fits[s] for s in wrong)), "")
        problem = (
            f"{which} z-scored on other trials than those of the train tier, over which means are not 0 or "
            f"deviations not 1 by up to {self._off:.4f}: it fits {fit or 'no set of tiers that can be seen'}"
        )
        return [Issue("error", spec.data_folder("responses"), problem, FIX)]


def _off_standard(summary: Summary, n_sessions: int) -> float:
    """How far from 0 the mean, or from 1 the deviation within sessions, of any unit is."""
    degrees = summary.n - n_sessions
    if degrees < 1:
        return np.inf
    with np.errstate(invalid="ignore"):
        apart = np.maximum(np.abs(summary.mean), np.abs(np.sqrt(summary.squares / degrees) - 1))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0))


def _sessions(numbers: list[int]) -> str:
    """Name sessions as the beginning of a sentence.

    >>> _sessions([2]), _sessions([1, 2])
    ('session 2 was', 'sessions 1, 2 were')
    """
    listed = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return f"sessions {listed} were" if len(numbers) > 1 else f"session {listed} was"


class _ChosenUnits:
    """Whether units that were chosen by their ncsnr reach it on training trials.

    Parameters
    ----------
    package
        Whose responses pass.
    """

    def __init__(self, package: Package) -> None:
        self._package, self._files = package, ExitStack()
        self._least = _recipe(package, "units").get("ncsnr_min", 0)
        self._chosen = isinstance(self._least, int | float) and self._least > 0
        self._told = _sessions_of(package) is not None
        self._rows: list[npt.NDArray[np.int64]] = []
        self._ends = [0]
        self._values: npt.NDArray[np.float32] | None = None

    def __enter__(self) -> Self:
        if self._chosen and self._told:
            folder = Path(self._files.enter_context(TemporaryDirectory()))
            shape = (int((self._package.tiers == "train").sum()), self._package.n_units)
            self._values = scratch_array(folder / "responses", shape, np.float32)
        return self

    def __exit__(self, *error: object) -> None:
        self._values = None
        self._files.close()

    def trials(self, tier: str, rows: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """Keep the responses of training trials, in a file.

        Parameters
        ----------
        tier, rows, values
            See `_Watch.trials`.
        """
        if self._values is not None and tier == "train":
            start = sum(map(len, self._rows))
            self._values[start : start + len(rows)] = values
            self._rows.append(rows)

    def session(self, session: int, sums: dict[str, Summary]) -> None:
        """Remember where a session ends.

        Parameters
        ----------
        session, sums
            See `_Watch.session`.
        """
        self._ends.append(sum(map(len, self._rows)))

    def found(self) -> Found:
        """Return an error where a unit does not reach it."""
        if not self._chosen:
            return Found([], {"units chosen": "not by their ncsnr"})
        if self._values is None:
            return Found([], {"units chosen": "not checked: a package that withholds does not tell sessions"})
        sessions = [self._values[a:b] for a, b in pairwise(self._ends) if b > a]
        shown = self._package.array(spec.trials_file("frame_image_id"))[np.concatenate(self._rows)]
        ncsnr = ncsnr_on(sessions, np.unique(shown, return_inverse=True)[1])
        short = int((~(ncsnr >= self._least - _REACHED)).sum())
        if not short:
            return Found([], {"units chosen": "train"})
        problem = (
            f"{short} of {len(ncsnr)} units do not reach ncsnr_min = {self._least} on training trials: "
            "they were chosen on others"
        )
        fix = "Export it with nsd-bench, which chooses units on training trials"
        return Found(
            [Issue("error", spec.neurons_file("unit_ids"), problem, fix)], {"units chosen": "others"}
        )


class _SameTrials:
    """Trials that are there twice: under one id, or with the same responses under two.

    Parameters
    ----------
    package
        Whose responses pass.
    """

    def __init__(self, package: Package) -> None:
        self._package = package
        self._seen: dict[bytes, list[int]] = defaultdict(list)

    def trials(self, tier: str, rows: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
        """Digest the responses of every trial, but for those that are withheld or say nothing.

        Parameters
        ----------
        tier, rows, values
            See `_Watch.trials`.
        """
        if values.shape[1] < _FEWEST_UNITS or self._package.is_withheld(tier):
            return
        for row, response in zip(rows.tolist(), values, strict=True):
            if (response != response[0]).any():
                self._seen[sha256(response.tobytes()).digest()].append(row)

    def session(self, session: int, sums: dict[str, Summary]) -> None:
        """Do nothing: trials are compared over all sessions.

        Parameters
        ----------
        session, sums
            See `_Watch.session`.
        """

    def found(self) -> Found:
        """Return an error for every pair of tiers that share a trial, and for ids that are there twice."""
        ids = self._package.array(spec.trials_file("trial_idx"))
        by_id: dict[str, list[int]] = defaultdict(list)
        for row, identifier in enumerate(ids.tolist()):
            by_id[str(identifier)].append(row)
        issues, numbers = [], {}
        for what, place, groups in (
            ("the same id", spec.trials_file("trial_idx"), by_id.values()),
            ("the same responses", spec.data_folder("responses"), self._seen.values()),
        ):
            several = [rows for rows in groups if len(rows) > 1]
            numbers[what] = several
            if several:
                rows = next((rows for rows in several if self._crosses(rows)), several[0])
                tiers = [str(self._package.tiers[row]) for row in rows[:2]]
                named = " and ".join(f"{tier} {row}" for tier, row in zip(tiers, rows, strict=False))
                n = sum(len(rows) for rows in several)
                issues.append(
                    Issue("error", place, f"{n} trials have {what} as another, {named} first", _ONCE)
                )
        return Found(issues, numbers)

    def _crosses(self, rows: list[int]) -> bool:
        return len(set(self._package.tiers[rows].tolist())) > 1


_BLOCK_BYTES = 1 << 22


def check_data(package: Package, gallery: Gallery) -> dict[str, Found]:
    """Read the data of every trial once, but for its image, and say what was fitted on which trials.

    Parameters
    ----------
    package
        Whose data are read.
    gallery
        Its images, which were read already.

    Returns
    -------
    found
        "fits": statistics, z-scores or units that were fitted on other trials than those of the train tier.
        "trials": the same trial in two tiers.
    """
    same, zscores = _SameTrials(package), _ZScores(package)
    issues = _strangers(package)
    numbers: dict[str, Any] = {
        "fitted on trials": len(_fitted_on(package)),
        "said by the manifest": package.manifest.get("fitted", {}),
    }
    why = _not_comparable(package)
    statistics: dict[str, Any] = {}
    with _ChosenUnits(package) as chosen:
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


def _read(package: Package, key: str, stored: Stored, watches: Sequence[_Watch]) -> dict[str, Summary]:
    """Read one kind of data of all trials, session by session; return tier to the summary of its trials."""
    arrays, sessions = package.trial_arrays(key), _sessions_of(package)
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

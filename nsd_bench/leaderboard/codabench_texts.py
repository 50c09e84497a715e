"""The phases of a season, as Codabench wants them: one after the other, never at the same time."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import jinja2

from nsd_bench import __version__
from nsd_bench.errors import OptionError
from nsd_bench.package.read import Package
from nsd_bench.package.spec import labels_by_roi
from nsd_bench.scoring.metrics import HEADLINE, RATIOS

__all__ = [
    "MOST_CHARACTERS",
    "MOST_REGIONS",
    "PAGES",
    "TIME_LIMIT_S",
    "Column",
    "Phase",
    "PhaseDates",
    "columns",
    "phases",
    "texts",
]

_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class PhaseDates:
    """When what is scored.

    Parameters
    ----------
    start, final
        Start of the live phase, and its end, at which the final one starts; both UTC.
    budget
        Submissions of a participant to the live phase. Codabench does not count failed ones.
    per_day
        Of these, on one day.
    final_budget
        Submissions to the final phase.
    live_step
        Scores of the live phase are rounded to multiples of this.
    """

    start: datetime
    final: datetime
    budget: int = 10
    per_day: int = 2
    final_budget: int = 1
    live_step: float = 0.01


@dataclass(frozen=True)
class Phase:
    """One phase: a tier, scored between two times.

    Parameters
    ----------
    name
        What participants read.
    tier
        What is scored.
    live
        Whether only one rounded score is shown.
    description
        A sentence.
    start, end
        UTC, as Codabench writes times; no end: None.
    max_submissions, max_submissions_per_day
        Of a participant.
    """

    name: str
    tier: str
    live: bool
    description: str
    start: str
    end: str | None
    max_submissions: int
    max_submissions_per_day: int


def phases(season: PhaseDates, tiers: list[str]) -> list[Phase]:
    """Return a live phase on `test` and a final one on `final_test`, or one alone if there is one tier.

    Parameters
    ----------
    season
        When what is scored, and the budgets.
    tiers
        What the truth has of `test` and `final_test`.

    Raises
    ------
    OptionError
        If the final phase would not start after the live one, or live scores have no step.
    """
    if not season.live_step > 0:
        raise OptionError(
            f"live scores are to be rounded to multiples of {season.live_step:g}",
            place="season",
            expected="a positive number, about the standard error of the live score",
            fix="give a --live-step such as 0.01",
        )
    if season.final <= season.start:
        raise OptionError(
            f"the final phase starts at {season.final:{_FORMAT}}, the live one at {season.start:{_FORMAT}}",
            place="season",
            expected="a final phase after the live one",
            fix="give a later --final",
        )
    last = Phase(
        "Final",
        tiers[-1],
        live=False,
        description="All scores with their intervals, once.",
        start=(season.final if len(tiers) > 1 else season.start).strftime(_FORMAT),
        end=None,
        max_submissions=season.final_budget,
        max_submissions_per_day=season.final_budget,
    )
    if len(tiers) == 1:
        return [last]
    live = Phase(
        "Live",
        tiers[0],
        live=True,
        description=f"One score, rounded to multiples of {season.live_step:g}.",
        start=season.start.strftime(_FORMAT),
        end=(season.final - timedelta(seconds=1)).strftime(_FORMAT),
        max_submissions=season.budget,
        max_submissions_per_day=season.per_day,
    )
    return [live, last]


MOST_CHARACTERS: Final = 36
"""Of a column's title and key, by Codabench's tables."""
MOST_REGIONS: Final = 12
"""Atlases with more regions get no columns: parcellations of hundreds are for the detailed results."""


@dataclass(frozen=True)
class Column:
    """One column: which score it shows, pooled over subjects.

    Parameters
    ----------
    key, title
        At most 36 characters each; keys are unique.
    atlas, roi, metric
        Which score.
    part
        "value", or "low" or "high" end of its interval.
    """

    key: str
    title: str
    atlas: str
    roi: str
    metric: str
    part: str = "value"


def columns(atlases: Iterable[Mapping[str, Mapping[int, str]]]) -> list[Column]:
    """List the headline with its interval, the other metrics, and the headline of every region.

    Parameters
    ----------
    atlases
        Of every package, atlas to label to name.

    Examples
    --------
    >>> [column.key for column in columns([{"streams": {1: "early"}}])][:3]
    ['signed_ratio', 'signed_ratio_low', 'signed_ratio_high']
    """
    ends = [
        Column(f"{HEADLINE}_{part}", f"{HEADLINE}, {part} end", "all", "all", HEADLINE, part)
        for part in ("low", "high")
    ]
    others = [Column(name, name, "all", "all", name) for name in RATIOS if name != HEADLINE]
    regions = dict.fromkeys(
        (atlas, roi)
        for names in atlases
        for atlas, labels in names.items()
        if len(found := labels_by_roi(labels)) <= MOST_REGIONS
        for roi in found
    )
    listed = [Column(HEADLINE, HEADLINE, "all", "all", HEADLINE), *ends, *others]
    listed += [
        Column(_key(number, atlas, roi), f"{roi} ({atlas})"[:MOST_CHARACTERS], atlas, roi, HEADLINE)
        for number, (atlas, roi) in enumerate(regions)
    ]
    return listed


def _key(number: int, atlas: str, roi: str) -> str:
    """Name a region's column; the number keeps names apart that are cut off."""
    return re.sub(r"[^a-z0-9]+", "_", f"roi_{number}_{atlas}_{roi}".lower())[:MOST_CHARACTERS]


PAGES: Final = {"overview": "Overview", "data": "Data", "evaluation": "Evaluation", "terms": "Terms"}
"""File to heading."""
TIME_LIMIT_S: Final = 3600


def texts(
    packages: Sequence[Package],
    plan: Sequence[Phase],
    season: PhaseDates,
    columns: Sequence[Column],
    *,
    title: str,
    docker_image: str,
) -> dict[str, str]:
    """Return name to content of every text.

    Parameters
    ----------
    packages
        Their manifests are told, nothing else of them.
    plan, season
        See `nsd_bench.leaderboard.codabench_texts`.
    columns
        Of the leaderboard.
    title, docker_image
        Of the competition.
    """
    tiers = [phase.tier for phase in plan]
    facts_of = [_facts(package, tiers) for package in packages]
    facts: dict[str, Any] = {
        "title": title,
        "description": "Predict 7T fMRI responses of the Natural Scenes Dataset, scored by nsd-bench",
        "docker_image": docker_image,
        "version": __version__,
        "pages": PAGES,
        "phases": [asdict(phase) for phase in plan],
        "columns": columns,
        "tiers": tiers,
        "packages": facts_of,
        "recipes": list(dict.fromkeys(one["recipe"] for one in facts_of if one["recipe"])),
        "headline": HEADLINE,
        "metrics": RATIOS,
        "live_step": season.live_step,
        "time_limit_s": TIME_LIMIT_S,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
    }
    # No autoescape: this is YAML and Markdown, of what the organiser wrote.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nsd_bench.leaderboard", "bundle"),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    sources = {
        "competition.yaml": "competition.yaml",
        **{f"pages/{name}.md": f"pages/{name}.md" for name in PAGES},
        "starting_kit/README.md": "kit/README.md",
        "Dockerfile": "Dockerfile",
    }
    return {name: environment.get_template(source).render(**facts) for name, source in sources.items()}


def _facts(package: Package, tiers: Sequence[str]) -> dict[str, Any]:
    manifest = package.manifest
    return {
        "name": package.name,
        "subject": package.subject,
        "n_units": package.n_units,
        "n_trials": {tier: len(package.rows(tier)) for tier in tiers},
        "split": manifest.get("tiers", {}).get("title", "unknown"),
        "recipe": manifest.get("recipe", {}).get("text", ""),
        "manifest_sha256": package.manifest_sha256,
    }

"""The texts of a bundle: competition.yaml, pages, the kit's README, the image's recipe."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import jinja2

from nsd_bench import __version__
from nsd_bench.codabench.columns import Column
from nsd_bench.codabench.season import Phase, Season
from nsd_bench.package import Package
from nsd_bench.scoring.metrics import HEADLINE, METRICS

__all__ = ["PAGES", "TIME_LIMIT_S", "texts"]

PAGES: Final = {"overview": "Overview", "data": "Data", "evaluation": "Evaluation", "terms": "Terms"}
"""File to heading."""
TIME_LIMIT_S: Final = 3600


def texts(
    packages: Sequence[Package],
    plan: Sequence[Phase],
    season: Season,
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
        See `nsd_bench.codabench.season`.
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
        "metrics": METRICS,
        "live_step": season.live_step,
        "time_limit_s": TIME_LIMIT_S,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
    }
    # No autoescape: this is YAML and Markdown, of what the organiser wrote.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nsd_bench.codabench", "bundle"),
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

"""Tier files: a split, written down, and how it is read."""

from __future__ import annotations

import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nsd_bench.errors import TierError, choices
from nsd_bench.inputs import read_text, reading
from tiers.expressions import FEATURE_COLUMNS, columns_named

__all__ = [
    "NOT_EXPORTED",
    "Rule",
    "TierFile",
    "known_tier_files",
    "load_tier_file",
    "parse_tier_file",
]

NOT_EXPORTED = "none"
"""Images of this tier are in no package: neither trained nor tested on."""

_FOLDER = Path(__file__).parent


class Rule(BaseModel):
    """Put the images for which `where` holds, and which no earlier rule took, into `tier`.

    Parameters
    ----------
    tier
        A tier, or "none": such images are left out of the package.
    where
        Expression over the image table, see `tiers.expressions`; all images if it is left out.
    fraction
        Take this fraction of them. Whether one of them is taken depends on the seeds and its nsd_id, and on
        nothing else, so that an image shared by subjects falls into the same tier for each of them.
    n
        Take this many of them instead: those with the smallest hashes.
    seed
        Another seed takes other images.
    stratify_by
        Column whose values are represented as they are among the candidates; exact, hence dependent on
        which images there are.
    balance_over
        Column of whose values an equal number is taken: with "subject" each subject gives as many.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: Literal["train", "validation", "test", "final_test", "none"]
    where: str = "True"
    fraction: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, gt=0)
    seed: int = 0
    stratify_by: str | None = None
    balance_over: str | None = None

    @model_validator(mode="after")
    def _one_way_to_sample(self) -> Rule:
        grouped = [name for name in ("stratify_by", "balance_over") if getattr(self, name)]
        if self.n is not None and self.fraction is not None:
            raise ValueError("'n' and 'fraction' exclude each other")
        if len(grouped) == 2:
            raise ValueError("'stratify_by' and 'balance_over' exclude each other")
        if grouped and self.n is None and self.fraction is None:
            raise ValueError(f"{grouped[0]!r} needs 'n' or 'fraction'")
        return self


class TierFile(BaseModel):
    """A split, written down: a title, its source, and rules in the order in which they apply.

    Parameters
    ----------
    title, source
        What it is, and what it reproduces.
    rules
        See `Rule`; the first that takes an image decides.
    by
        "image" keeps the repeats of an image together. "trial" is for reproducing splits that do not:
        rules may then ask for `session`, `run`, `trial` and `repeat` too.
    seed
        Added to the seed of every rule.
    name, text
        Of the file; the text is what packages record.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    rules: tuple[Rule, ...] = Field(min_length=1)
    by: Literal["image", "trial"] = "image"
    seed: int = 0
    name: str = ""
    text: str = ""

    @property
    def needs_features(self) -> bool:
        """Whether a rule asks for what only image features tell.

        >>> load_tier_file("cluster-out").needs_features, load_tier_file("sensorium").needs_features
        (True, False)
        """
        asked = {name for rule in self.rules for name in columns_named(rule.where)}
        return not asked.isdisjoint(FEATURE_COLUMNS)

    def reseeded(self, seed: int) -> TierFile:
        """Return these tiers with another draw wherever a rule samples; the text says so too.

        Parameters
        ----------
        seed
            Of the other draw.

        Examples
        --------
        >>> load_tier_file("sensorium").reseeded(3).text.splitlines()[0]
        'seed = 3'
        """
        head, mark, rules = self.text.partition("[[rules]]")
        head = re.sub(r"^seed *=.*\n", "", head, flags=re.MULTILINE)
        return parse_tier_file(f"seed = {seed}\n{head}{mark}{rules}", self.name)


def known_tier_files() -> list[str]:
    """Return the names of the tier files that come with the project.

    >>> "sensorium" in known_tier_files()
    True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_tier_file(name_or_path: str) -> TierFile:
    """Read a tier file by the name of a shipped one, or by the path of one's own.

    Parameters
    ----------
    name_or_path
        One of `known_tier_files`, or a path that ends in .toml.

    Raises
    ------
    TierError
        If there is none, it is not TOML, or has an unknown or missing key.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _FOLDER / f"{name_or_path}.toml"
    with reading(path, partial(_broken, str(path))):
        try:
            text = read_text(path).decode()
        except FileNotFoundError:
            raise TierError(
                f"there are no tiers called {name_or_path!r}",
                place="tiers",
                expected=choices(name_or_path, known_tier_files()),
                fix="correct the name, or give the path of a .toml file",
            ) from None
    return parse_tier_file(text, path.stem, str(path))


def parse_tier_file(text: str, name: str, place: str = "tiers") -> TierFile:
    """Read the text of a tier file, such as packages record it.

    Parameters
    ----------
    text
        The rules, in TOML.
    name
        What the tiers are called.
    place
        Where the text is from, for errors.

    Raises
    ------
    TierError
        If it is not TOML, or has an unknown or missing key.
    """
    with reading(place, partial(_broken, place), "not TOML"):
        values = tomllib.loads(text)
    with reading(place, partial(_broken, place)):
        try:
            return TierFile(**values, name=name, text=text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _broken(place, f"{where}: {first['msg']}") from error


def _broken(place: str, problem: str) -> TierError:
    return TierError(
        problem,
        place=place,
        expected="title, source and a list of [[rules]] with tier, where, fraction, n, seed, stratify_by, "
        "balance_over",
        fix="compare with tiers/sensorium.toml",
    )

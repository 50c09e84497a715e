"""Read a tier file and assign every image of a subject to a tier."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nsd_bench.errors import TierError, choices
from tiers.expressions import evaluate

__all__ = ["NOT_EXPORTED", "Rule", "TierFile", "assign_tiers", "known_tier_files", "load_tier_file"]

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
        Take this fraction of them. Whether an image is taken depends on `seed` and its nsd_id alone,
        so that an image shared by subjects falls into the same tier for each of them.
    n
        Take this many of them instead: those with the smallest hashes.
    seed
        Another seed takes other images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tier: Literal["train", "validation", "test", "final_test", "none"]
    where: str = "True"
    fraction: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, gt=0)
    seed: int = 0


class TierFile(BaseModel):
    """A split, written down: a title, its source, and rules in the order in which they apply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    rules: tuple[Rule, ...] = Field(min_length=1)
    name: str = ""
    text: str = ""


def known_tier_files() -> list[str]:
    """Return the names of the tier files that come with the project.

    >>> "sensorium" in known_tier_files()
    True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_tier_file(name_or_path: str) -> TierFile:
    """Read a tier file by the name of a shipped one, or by the path of one's own.

    Raises
    ------
    TierError
        If there is none, it is not TOML, or has an unknown or missing key.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _FOLDER / f"{name_or_path}.toml"
    try:
        text = path.read_text(encoding="utf-8")
        return TierFile(**tomllib.loads(text), name=path.stem, text=text)
    except FileNotFoundError:
        raise TierError(
            f"there are no tiers called {name_or_path!r}",
            place="tiers",
            expected=choices(name_or_path, known_tier_files()),
            fix="correct the name, or give the path of a .toml file",
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise _broken(path, f"not TOML ({error})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _broken(path, f"{where}: {first['msg']}") from error


def _broken(path: Path, problem: str) -> TierError:
    return TierError(
        problem,
        place=str(path),
        expected="title, source and a list of [[rules]] with tier, where, fraction, n, seed",
        fix="compare with tiers/sensorium.toml",
    )


def assign_tiers(tier_file: TierFile, images: pd.DataFrame, place: str = "") -> npt.NDArray[np.str_]:
    """Give every image the tier of the first rule that takes it.

    Parameters
    ----------
    tier_file
        The rules.
    images
        One row per image that the subject saw: `nsd_id` and whatever columns the rules name.
    place
        Whose images these are, for errors.

    Returns
    -------
    tiers : str array of shape (len(images),)
        Tier of every image; "none" where an image is to be left out.

    Raises
    ------
    TierError
        If a rule cannot be evaluated, an image is taken by no rule, or a tier stays empty.

    Examples
    --------
    >>> rules = (Rule(tier="test", where="shared1000"), Rule(tier="train"))
    >>> images = pd.DataFrame({"nsd_id": [5, 9], "shared1000": [True, False]})
    >>> assign_tiers(TierFile(title="t", source="s", rules=rules), images).tolist()
    ['test', 'train']
    """
    here = f"{place}, tiers {tier_file.name!r}".lstrip(", ")
    tiers = np.full(len(images), "", dtype="<U10")
    nsd_id = images["nsd_id"].to_numpy()
    for number, rule in enumerate(tier_file.rules, start=1):
        free = (tiers == "") & evaluate(rule.where, images, f"{here}, rule {number}")
        tiers[_sample(rule, free, nsd_id)] = rule.tier
    left = tiers == ""
    if left.any():
        raise TierError(
            f"no rule takes {left.sum()} of {len(tiers)} images, nsd_id {nsd_id[left][0]} first",
            place=here,
            expected="every image in a tier, or in 'none'",
            fix="add a last rule without 'where'",
        )
    for tier in dict.fromkeys(rule.tier for rule in tier_file.rules if rule.tier != NOT_EXPORTED):
        if tier not in tiers:
            raise TierError(
                f"tier {tier!r} is empty: none of {len(tiers)} images is taken by its rules",
                place=here,
                expected="at least one image in every tier",
                fix="export more sessions, or change the rules",
            )
    return tiers


def _sample(rule: Rule, free: npt.NDArray[np.bool_], nsd_id: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    candidates = np.flatnonzero(free)
    if rule.fraction is None and rule.n is None:
        return candidates
    keys = np.array([_uniform(rule.seed, int(image)) for image in nsd_id[candidates]])
    if rule.fraction is not None:
        candidates, keys = candidates[keys < rule.fraction], keys[keys < rule.fraction]
    return candidates[np.argsort(keys, kind="stable")][: rule.n]


def _uniform(seed: int, nsd_id: int) -> float:
    """Hash to [0, 1): the same on every machine, and independent of which other images there are."""
    digest = hashlib.sha256(f"{seed}:{nsd_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

"""The lines of a ledger: a season opens, submissions come, the season closes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from nsd_bench.inputs import parse_json
from nsd_bench.leaderboard.names import team_key
from nsd_bench.scoring.records import read_record

__all__ = [
    "GENESIS",
    "Asked",
    "Closing",
    "Line",
    "Opening",
    "Record",
    "decode",
    "digest",
    "encode",
    "head_of",
    "is_closed",
    "opening_of",
    "place_after",
    "records_of",
]

GENESIS: Final = "0" * 64
"""What the first line gives as the digest of the line before it."""
_ONLY_IF_SAID: Final = ("lacking", "predictions", "like")


@dataclass(frozen=True)
class Asked:
    """What a complete submission predicts of one subject.

    Parameters
    ----------
    subject, package, manifest_sha256
        Which package.
    n_units
        Of the package.
    n_trials
        Tier to its number of trials.
    """

    subject: int
    package: str
    manifest_sha256: str
    n_units: int
    n_trials: Mapping[str, int]


@dataclass(frozen=True)
class Opening:
    """The season opens, or its budget and step change.

    Parameters
    ----------
    number
        From 1.
    previous
        SHA-256 digest of the line before, without its newline.
    time
        When it was added, ISO 8601 in UTC.
    live
        Tier that is scored while the season runs.
    budget
        Submissions of a team, failed and incomplete ones among them.
    step
        The Ladder's step.
    packages
        What a complete submission predicts.
    """

    number: int
    previous: str
    time: str
    live: str
    budget: int
    step: float
    packages: Sequence[Asked]


@dataclass(frozen=True)
class Record:
    """A submission.

    Parameters
    ----------
    number, previous, time
        See `Opening`.
    team, tier
        Who submitted, and what for.
    submission
        Digest of the files that were submitted.
    failed
        Whether it is complete and could not be scored; it counts all the same.
    published
        The score by the Ladder rule; None where the submission is not better by a step, or not complete.
    step
        The Ladder's step.
    lacking
        What it left out, such as "1 of 2 subjects"; None if nothing.
    predictions
        Digest of what was predicted for the tier, which the file, its order and its card do not change.
    like
        Number of the line of another team's submission with the same predictions.
    """

    number: int
    previous: str
    time: str
    team: str
    tier: str
    submission: str
    failed: bool
    published: float | None
    step: float
    lacking: str | None = None
    predictions: str | None = None
    like: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Team, however it is spelt, and tier: what a budget is counted by."""
        return team_key(self.team), self.tier


@dataclass(frozen=True)
class Closing:
    """The season is over.

    Parameters
    ----------
    number, previous, time
        See `Opening`.
    """

    number: int
    previous: str
    time: str


Line = Opening | Record | Closing

_KINDS: Final[Mapping[str, type[Opening | Record | Closing]]] = {
    "opening": Opening,
    "submission": Record,
    "closing": Closing,
}


def encode(line: Line) -> bytes:
    """Return a line as it stands in the file, without the newline.

    Submissions do not say their kind, nor what is None: so they stood in the first ledgers.

    Parameters
    ----------
    line
        Of any kind.

    Examples
    --------
    >>> encode(Closing(1, "0", "now"))
    b'{"kind": "closing", "number": 1, "previous": "0", "time": "now"}'
    """
    content: dict[str, Any] = asdict(line)
    if isinstance(line, Record):
        content = {key: one for key, one in content.items() if key not in _ONLY_IF_SAID or one is not None}
    else:
        content["kind"] = "opening" if isinstance(line, Opening) else "closing"
    return json.dumps(content, sort_keys=True, allow_nan=False).encode()


def digest(line: Line) -> str:
    """Return the SHA-256 digest of a line.

    Parameters
    ----------
    line
        Of any kind.
    """
    return hashlib.sha256(encode(line)).hexdigest()


def decode(text: bytes) -> Line:
    """Read a line.

    Parameters
    ----------
    text
        A line of the file, without its newline.

    Raises
    ------
    ValueError
        If it is none; says why.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        problem = "it is no JSON object"
        raise ValueError(problem)
    kind = content.pop("kind", "submission")
    if kind not in _KINDS:
        problem = f"its kind is {kind!r}"
        raise ValueError(problem)
    return read_record(_KINDS[kind], content)


def records_of(lines: Sequence[Line]) -> list[Record]:
    """Return the lines of submissions.

    Parameters
    ----------
    lines
        Of a ledger, from the first on.
    """
    return [line for line in lines if isinstance(line, Record)]


def is_closed(lines: Sequence[Line]) -> bool:
    """Return whether a season is over.

    Parameters
    ----------
    lines
        Of a ledger, from the first on.
    """
    return any(isinstance(line, Closing) for line in lines)


def head_of(lines: Sequence[Line]) -> str:
    """Return the digest of the last line.

    Parameters
    ----------
    lines
        Of a ledger, from the first on.
    """
    return place_after(lines)[1]


def place_after(lines: Sequence[Line]) -> tuple[int, str]:
    """Return number and previous of the line that comes next.

    Parameters
    ----------
    lines
        Of a ledger, from the first on.
    """
    return len(lines) + 1, digest(lines[-1]) if lines else GENESIS


def opening_of(lines: Sequence[Line]) -> Opening | None:
    """Return the rules that hold; None if no season was opened.

    Parameters
    ----------
    lines
        Of a ledger, from the first on.
    """
    return next((line for line in reversed(lines) if isinstance(line, Opening)), None)

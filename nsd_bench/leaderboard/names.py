"""Names that entrants give: made printable, and compared so that one team is one team however it is spelt."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from nsd_bench.errors import legible

__all__ = ["MOST_LETTERS", "printable", "team_fault", "team_key", "tidy"]

MOST_LETTERS: Final = 100
"""Of a team's name."""
_SURROGATE, _CONTROL, _FORMAT, _DASH = "Cs", "Cc", "Cf", "Pd"  # Unicode's general categories
_IGNORABLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What leaves no ink: Unicode's Default_Ignorable_Code_Point, and the blank of Braille."""


def tidy(name: str) -> str:
    r"""Leave out what leaves no ink, and put one space where there is any other white space.

    Parameters
    ----------
    name
        As an entrant wrote it.

    Examples
    --------
    >>> tidy("  Team\u00a0\u200b A ")
    'Team A'
    """
    return " ".join(_IGNORABLE.sub("", name).split())


def printable(text: str, most: int = 2000) -> str:
    r"""Return text of cards for a page or a terminal: `legible`, and without what leaves no ink.

    Parameters
    ----------
    text
        As an entrant wrote it; of several lines one is made.
    most
        Letters; what is longer is cut, and ends in an ellipsis.

    Examples
    --------
    >>> printable("a\u200bb\x07") == "ab\\x07", printable("abcdef", 4) == "abc\u2026"
    (True, True)
    """
    return legible(_IGNORABLE.sub("", text[: 2 * most]).replace("\n", " "), most)


def team_key(team: str) -> str:
    r"""Return what two spellings of one name have in common.

    Compatible forms, case, white space, kinds of dashes, what leaves no ink, and the order of names after
    commas make no difference. Letters of other alphabets that look alike do.

    Parameters
    ----------
    team
        Name as an entrant wrote it.

    Examples
    --------
    >>> len({team_key(name) for name in ("Team A", "TEAM  a", "\uff34eam\u200b A", "team\u00a0a")})
    1
    >>> team_key("Ada, Bo") == team_key("bo,Ada"), team_key("Team 1") == team_key("Team 11")
    (True, False)
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", team).casefold())
    letters = "".join(_IGNORABLE.sub("", folded).split())
    kept = [
        "-" if unicodedata.category(letter) == _DASH else letter
        for letter in letters
        if unicodedata.category(letter) not in (_CONTROL, _FORMAT)
    ]
    return ",".join(sorted(filter(None, "".join(kept).split(","))))


def team_fault(team: str) -> str:
    r"""Say why a name cannot be a team's; empty if it can.

    Parameters
    ----------
    team
        Name as an entrant wrote it.

    Examples
    --------
    >>> team_fault(" \u200b "), team_fault("a\ud800"), team_fault("Team A")
    ('it is empty', 'it holds half of a character, at place 2', '')
    """
    name = tidy(team)
    if not team_key(name):
        return "it is empty"
    if len(name) > MOST_LETTERS:
        return f"it has {len(name)} letters, of {MOST_LETTERS} at most"
    for place, letter in enumerate(name, start=1):
        if unicodedata.category(letter) == _SURROGATE:
            return f"it holds half of a character, at place {place}"
        if unicodedata.category(letter) == _CONTROL:
            return f"it holds the control character U+{ord(letter):04X}, at place {place}"
    return ""

"""Colours of flat maps, and one scale for all maps that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError, choices

__all__ = ["Scale", "shared_scale"]

DIVERGING: Final = "RdBu_r"
SEQUENTIAL: Final = "inferno"
_TAILS_PERCENT = 1.0
# So many values below 0 may be noise around it, such as the r of units without signal.
_FEW_NEGATIVE = 0.05


@dataclass(frozen=True)
class Scale:
    """How numbers become colours.

    Parameters
    ----------
    colours
        Name of a matplotlib colour map.
    low, high
        Values beyond them are drawn like them.
    """

    colours: str
    low: float
    high: float


def shared_scale(
    values: Sequence[npt.NDArray[np.floating]],
    *,
    colours: str | None = None,
    low: float | None = None,
    high: float | None = None,
    two_sided: bool = False,
) -> Scale:
    """Choose one scale for several maps.

    Where values lie on both sides of 0 it is symmetric, red and blue; else it begins at 0. The hundredth part
    of the values that is most extreme does not count. A lower end that is given decides which of both it is.

    Parameters
    ----------
    values
        One array of shape (n_units,) a map; NaN is left out.
    colours, low, high
        Fix one of them; `None` chooses.
    two_sided
        Whether 0 is the middle whatever the values, as for differences.

    Raises
    ------
    OptionError
        If there is no finite value, `low` is not below `high`, or there is no such colour map.

    Examples
    --------
    >>> shared_scale([np.array([0.0, 2.0]), np.array([4.0, np.nan])], high=4)
    Scale(colours='inferno', low=0.0, high=4)
    >>> shared_scale([np.array([-1.0, -1.0, 1.0])])
    Scale(colours='RdBu_r', low=-1.0, high=1.0)
    """
    if colours is not None and colours not in mpl.colormaps:
        raise OptionError(
            f"there is no colour map {colours!r}",
            place="flat map",
            expected=choices(colours, list(mpl.colormaps)),
            fix="give one of matplotlib's",
        )
    found = np.concatenate([one[np.isfinite(one)] for one in values])
    if not found.size:
        raise OptionError(
            "no unit has a value",
            place="flat map",
            expected="at least one finite value",
            fix="draw another column: the noise ceiling, for one, is unknown in MNI space",
        )
    two_sided = two_sided or bool((found < 0).mean() > _FEW_NEGATIVE) if low is None else low < 0
    largest = float(np.percentile(np.abs(found) if two_sided else found, 100 - _TAILS_PERCENT)) or 1.0
    low = (-largest if two_sided else 0.0) if low is None else low
    high = largest if high is None else high
    if not low < high:
        raise OptionError(
            f"the scale ends at {high:g} and begins at {low:g}",
            place="flat map",
            expected="a lower end below the upper one",
            fix="give --vmin and --vmax",
        )
    return Scale(colours or (DIVERGING if two_sided else SEQUENTIAL), low, high)

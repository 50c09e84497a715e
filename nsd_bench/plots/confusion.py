"""The figure of a decoder: what was seen against what was decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nsd_bench.plots.figures import _STYLE, INK, _svg

__all__ = ["confusion_figure"]


def confusion_figure(classes: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
    """Draw a confusion matrix, every row in per cent of the trials of its class.

    Parameters
    ----------
    classes
        Names.
    counts : int64 array of shape (n_classes, n_classes)
        Trials by what was seen (rows) and what was decoded (columns).

    Returns
    -------
    svg
    """
    percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    with mpl.rc_context(_STYLE):
        side = 1.4 + 0.42 * len(classes)
        figure = Figure(figsize=(side + 0.5, side), layout="constrained")
        axes = figure.subplots()
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        names = [f"{name} ({n:,})" for name, n in zip(classes, counts.sum(axis=1).tolist(), strict=True)]
        axes.set_yticks(range(len(classes)), names)
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("decoded")
        axes.set_ylabel("seen (trials)")
        _write_numbers(axes, percent)
        return _svg(figure, "Confusion matrix: what was seen against what was decoded, per cent of each row")


def _write_numbers(axes: Any, percent: npt.NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(percent):
        colour = "white" if value > 55 else INK
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)

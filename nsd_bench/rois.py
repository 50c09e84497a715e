"""Names of regions: every label of an atlas, and the areas that NSD splits into ventral and dorsal."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["labels_by_roi"]


def labels_by_roi(names: Mapping[int, str]) -> dict[str, list[int]]:
    """Return the labels that make up each region of an atlas.

    Next to the atlas' own names stands "V1" wherever it has both V1v and V1d.

    Parameters
    ----------
    names
        Label to name, without 0.

    Examples
    --------
    >>> labels_by_roi({1: "V1v", 2: "V1d", 7: "hV4"})
    {'V1v': [1], 'V1d': [2], 'hV4': [7], 'V1': [1, 2]}
    """
    by_name: dict[str, list[int]] = {}
    for label, name in sorted(names.items()):
        by_name.setdefault(name, []).append(label)
    for name in list(by_name):
        area, dorsal = name[:-1], name[:-1] + "d"
        if name.endswith("v") and dorsal in by_name and area not in by_name:
            by_name[area] = sorted(by_name[name] + by_name[dorsal])
    return by_name

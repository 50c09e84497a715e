"""Names of labels, as NSD's .ctab files have them."""

from __future__ import annotations

from exporters.simulate.anatomy import LABELS, SUBCORTICAL

__all__ = ["label_table"]


def label_table(atlas: str) -> str:
    """Return the text of an atlas' .ctab file.

    >>> print(label_table("floc-places"), end="")
    0 Unknown
    1 OPA
    2 PPA
    3 RSC
    """
    names = (LABELS | SUBCORTICAL)[atlas]
    # NSD's Kastner2015 has a tab and blanks behind every name.
    tail = "\t   " if atlas == "Kastner2015" else ""
    return "0 Unknown\n" + "".join(f"{label} {name}{tail}\n" for label, name in enumerate(names, start=1))

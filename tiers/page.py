"""One self-contained page about an audit, with the images in question."""

from __future__ import annotations

import base64
import io
from importlib.resources import files

import jinja2

from nsd_bench.package import Package
from tiers.audit import Audit
from tiers.similarity import thumbnail

__all__ = ["audit_page"]

_MOST_PAIRS = 48
_SIDE = 112


def audit_page(audit: Audit, package: Package, *, images: bool = True) -> str:
    """Make the page.

    Parameters
    ----------
    audit
        Of this package.
    package
        Where the images are read.
    images
        Whether to show photographs: they are NSD's, and such a page may not be passed on.

    Returns
    -------
    html
        One file, no other needed; the same arguments give the same bytes.
    """
    pairs = audit.checks["near duplicates"]["pairs"]
    closest = sorted(
        audit.checks["distances"].get("test images", []), key=lambda one: (one["distance"], one["file"])
    )
    shown = {file for pair in pairs[:_MOST_PAIRS] for file in pair["files"]}
    shown |= {file for one in closest[:_MOST_PAIRS] for file in (one["file"], one["nearest"])}
    return _template().render(
        audit=audit,
        pairs=pairs[:_MOST_PAIRS],
        n_pairs=len(pairs),
        closest=closest[:_MOST_PAIRS],
        pictures={file: _picture(package, file) for file in sorted(shown)} if images else {},
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(files("tiers").joinpath("audit.html").read_text(encoding="utf-8"))


def _picture(package: Package, row: int) -> str:
    stream = io.BytesIO()
    thumbnail(package.images([row])[0], _SIDE).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()

"""The logo: dots whose size follows a wave, one row a subject."""

from __future__ import annotations

import io
import math

from PIL import Image, ImageDraw

__all__ = ["logo"]

_SIZE, _DOTS, _SCALE = 512, 8, 4
_PAPER, _DOT, _LAST = "#10202f", "#58b4e8", "#e69f00"


def logo() -> bytes:
    r"""Draw the logo; returns a PNG of 512 x 512 px.

    >>> logo()[:4]
    b'\x89PNG'
    """
    large = _SIZE * _SCALE
    image = Image.new("RGB", (large, large), _PAPER)
    draw = ImageDraw.Draw(image)
    cell = large / (_DOTS + 1)
    for row in range(_DOTS):
        for column in range(_DOTS):
            wave = math.sin(0.9 * column + 0.55 * row) * math.cos(0.5 * column - 0.8 * row)
            radius = cell * (0.25 + 0.18 * wave)
            x, y = cell * (column + 1), cell * (row + 1)
            colour = _LAST if column == _DOTS - 1 else _DOT  # the withheld ones
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    stream = io.BytesIO()
    image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS).save(stream, "PNG")
    return stream.getvalue()

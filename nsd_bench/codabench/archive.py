"""A zip of files with fixed dates and modes: the same files, the same bytes."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["Archive"]

_FIXED_DATE: Final = (1980, 1, 1, 0, 0, 0)
_CHUNK_BYTES: Final = 1 << 22


class Archive:
    """Adds files to a zip that has no folder on top.

    Parameters
    ----------
    file
        Open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w")

    def add(self, name: str, content: bytes | Path, *, compress: bool = False) -> None:
        """Add a file, given as bytes or as the path of what to copy.

        Parameters
        ----------
        compress
            Deflate it; else it is stored.
        """
        info = zipfile.ZipInfo(name, _FIXED_DATE)
        info.create_system = 3
        info.external_attr = 0o100644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        if isinstance(content, bytes):
            self._zip.writestr(info, content)
            return
        info.file_size = content.stat().st_size
        with content.open("rb") as origin, self._zip.open(info, "w") as entry:
            shutil.copyfileobj(origin, entry, _CHUNK_BYTES)

    def close(self) -> None:
        """Write the zip's directory."""
        self._zip.close()

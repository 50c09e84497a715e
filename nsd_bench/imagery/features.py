"""Features of stimuli, kept by nsd_id: seeing and imagining the same picture share them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError
from nsd_bench.outputs import array_to_bytes, new_file

__all__ = ["FeatureCache"]

Vector = npt.NDArray[np.float32]


class FeatureCache:
    """A folder with one vector per image, as in `clip_embeddings/imagery_cache`.

    Parameters
    ----------
    folder
        Holds `<nsd_id>.npy`; need not exist yet.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FeatureCache(folder)
    ...     cache.put(28751, np.ones(4))
    ...     28751 in cache, 28752 in cache, cache.get(28751).tolist()
    (True, False, [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def _path(self, nsd_id: int) -> Path:
        return self.folder / f"{nsd_id}.npy"

    def __contains__(self, nsd_id: int) -> bool:
        return self._path(nsd_id).is_file()

    def put(self, nsd_id: int, vector: npt.ArrayLike) -> None:
        """Keep a vector as float32."""
        with new_file(self._path(nsd_id)) as file:
            file.write(array_to_bytes(np.asarray(vector, dtype=np.float32)))

    def get(self, nsd_id: int) -> Vector:
        """Return a vector.

        Raises
        ------
        PackageError
            If it is not there, or is not a float32 vector.
        """
        path = self._path(nsd_id)
        try:
            vector = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _no_vector(path, nsd_id, f"cannot be read ({error})") from error
        if vector.ndim != 1 or vector.dtype != np.float32:
            raise _no_vector(path, nsd_id, f"is {vector.dtype} of shape {vector.shape}")
        return np.asarray(vector, dtype=np.float32)

    def fill(self, nsd_ids: Iterable[int], features: Callable[[int], npt.ArrayLike]) -> int:
        """Compute what is not there yet, each image once; return how many were computed."""
        missing = sorted({int(nsd_id) for nsd_id in nsd_ids if int(nsd_id) not in self})
        for nsd_id in missing:
            self.put(nsd_id, features(nsd_id))
        return len(missing)


def _no_vector(path: Path, nsd_id: int, problem: str) -> PackageError:
    return PackageError(
        problem,
        place=str(path),
        expected=f"a float32 vector of image {nsd_id}",
        fix="compute the features of all images of the index with FeatureCache.fill",
    )

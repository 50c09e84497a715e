"""Matrix products in float64 on any of torch's devices, for the scorer's bootstrap draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from nsd_bench.errors import OptionError

__all__ = ["product_on"]

Array = npt.NDArray[np.float64]


def product_on(device: str) -> Callable[[Array, Array], Array]:
    """Return a function that multiplies two float64 arrays on a device and brings the result back.

    Parameters
    ----------
    device
        As torch names it: "cpu", "cuda", "cuda:1".

    Raises
    ------
    OptionError
        If torch does not have that device, or it does not compute in float64.

    Examples
    --------
    >>> product_on("cpu")(np.eye(2), np.array([[1.0], [2.0]])).tolist()
    [[1.0], [2.0]]
    """
    try:
        torch.ones(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise OptionError(
            f"device {device!r} cannot be used ({str(error).splitlines()[0]})",
            place="option 'device'",
            expected="a device of this machine that computes in float64",
            fix="leave it out to use numpy, or run where torch sees that device",
        ) from error

    def product(left: Array, right: Array) -> Array:
        tensors = (torch.from_numpy(np.ascontiguousarray(side)).to(device) for side in (left, right))
        out: Array = torch.matmul(*tensors).cpu().numpy()
        return out

    return product

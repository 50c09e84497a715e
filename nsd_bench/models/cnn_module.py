"""The network of the `cnn` baseline: neuralpredictors' 2D core, and one of its readouts per package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

import torch
from torch import nn
from torch.nn.functional import pixel_unshuffle

from nsd_bench.errors import NsdBenchError, OptionError
from nsd_bench.loaders.compatibility import neuralpredictors_module
from nsd_bench.models.checked import CheckedOptions, Within

__all__ = ["READOUTS", "Architecture", "CnnModule"]

_MOST_CELLS: Final = 63


@dataclass(frozen=True)
class Architecture(CheckedOptions):
    """What the network is made of.

    Parameters
    ----------
    readout
        Key of `READOUTS`: "factorized" learns a mask and feature weights of every unit, "gaussian" a point,
        sampled around its mean while training, and feature weights.
    layers, hidden_channels, input_kernel, hidden_kernel, stride
        Of the core's convolutions; the stride is that of all but the first. The last layer is read out.
    fold
        Side of the blocks of pixels that become channels before the first convolution, which divides its cost
        by the square and loses nothing; None takes the smallest power of two that leaves at most 63 a side.
    batch_norm
        Whether every convolution is followed by batch normalisation.
    linear
        Leaves out all nonlinearities: the control that says what they are worth.
    input_penalty
        Factor of the Laplacian penalty on the first layer's filters.
    readout_penalty
        Factor of the L1 norm of the readout's weights, per unit.
    init_sigma
        Spread of the Gaussian readout's points at the start, where the image reaches from -1 to 1.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "cnn"
    readout: Literal["factorized", "gaussian"] = "factorized"
    layers: Annotated[int, Within(1)] = 3
    hidden_channels: Annotated[int, Within(1)] = 32
    input_kernel: Annotated[int, Within(1)] = 5
    hidden_kernel: Annotated[int, Within(1)] = 3
    stride: Annotated[int, Within(1)] = 2
    fold: Annotated[int, Within(1)] | None = None
    batch_norm: bool = True
    linear: bool = False
    input_penalty: Annotated[float, Within(0)] = 0.0
    readout_penalty: Annotated[float, Within(0)] = 0.0
    init_sigma: Annotated[float, Within(1e-6)] = 0.1

    def fold_of(self, height: int) -> int:
        """Return the side of the blocks of pixels, for images of some height.

        Parameters
        ----------
        height
            Of the images, in pixels.

        Examples
        --------
        >>> [Architecture().fold_of(height) for height in (24, 64, 224)]
        [1, 2, 4]
        """
        if self.fold is not None:
            return self.fold
        fold = 1
        while height // fold > _MOST_CELLS:
            fold *= 2
        return fold


class CnnModule(nn.Module):
    """Images as they are stored to standardised responses, for several packages.

    Parameters
    ----------
    architecture
        What it is made of.
    image_shape
        Channels, height, width.
    mean_responses : dict of float32 tensors of shape (n_units,)
        Data key to the responses that training starts from.
    image_mean, image_std
        What pixels are standardised by.

    Raises
    ------
    NsdBenchError
        If neuralpredictors is not installed.
    OptionError
        If the images are smaller than the network needs.
    """

    image_mean: torch.Tensor
    image_std: torch.Tensor
    core: Any
    readouts: Any

    def __init__(
        self,
        architecture: Architecture,
        image_shape: tuple[int, ...],
        mean_responses: Mapping[str, torch.Tensor],
        *,
        image_mean: float,
        image_std: float,
    ) -> None:
        super().__init__()
        self.architecture, self.fold = architecture, architecture.fold_of(image_shape[1])
        self.register_buffer("image_mean", torch.tensor(image_mean, dtype=torch.float32))
        self.register_buffer("image_std", torch.tensor(image_std, dtype=torch.float32))
        self.core = _core(architecture, image_shape[0] * self.fold**2)
        shape = self._shape_of_features(image_shape)
        make = READOUTS[architecture.readout]
        self.readouts = nn.ModuleDict(
            {key: make(architecture, shape, mean) for key, mean in mean_responses.items()}
        )

    def forward(self, images: torch.Tensor, data_key: str) -> torch.Tensor:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : uint8 or float32 tensor of shape (n, channels, height, width)
            Pixels as packages store them.
        data_key
            Of the package whose units are read out.
        """
        features = self.core(self._standardise(images))
        responses: torch.Tensor = self.readouts[data_key](features)
        return responses

    def regularizer(self, data_key: str) -> torch.Tensor | float:
        """Return the penalties on filters and on one package's readout.

        Parameters
        ----------
        data_key
            Of the package whose readout counts.
        """
        penalty: torch.Tensor | float = 0.0
        if self.architecture.input_penalty:
            penalty = penalty + self.core.regularizer()
        if self.architecture.readout_penalty:
            readout = self.readouts[data_key]
            penalty = penalty + self.architecture.readout_penalty * readout.regularizer() / readout.outdims
        return penalty

    def _standardise(self, images: torch.Tensor) -> torch.Tensor:
        height, width = (size // self.fold * self.fold for size in images.shape[-2:])
        pixels = (images[..., :height, :width].float() - self.image_mean) / self.image_std
        return pixel_unshuffle(pixels, self.fold)

    def _shape_of_features(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        try:
            with torch.no_grad():
                features = self.core.eval()(self._standardise(torch.zeros(1, *image_shape)))
        except RuntimeError as error:
            raise OptionError(
                f"images of {image_shape[1]} x {image_shape[2]} pixels are too small",
                place="cnn",
                expected="at least one cell left after all layers",
                fix="give smaller kernels, a smaller stride or fold, or fewer layers",
            ) from error
        finally:
            self.core.train()
        return tuple(features.shape[1:])


def _core(architecture: Architecture, n_channels: int) -> Any:
    core = _layers("cores").Stacked2dCore(
        n_channels,
        architecture.hidden_channels,
        architecture.input_kernel,
        architecture.hidden_kernel,
        layers=architecture.layers,
        gamma_input=architecture.input_penalty,
        stride=architecture.stride,
        stack=-1,
        input_regularizer="LaplaceL2norm",
        batch_norm=architecture.batch_norm,
        linear=architecture.linear,
        use_avg_reg=False,
    )
    for layer in core.features:
        if not architecture.linear:
            # Theirs subtracts and adds shifts of 0, two copies of every map: a tenth of a step.
            layer.nonlin = nn.ELU(inplace=True)
    return core


def _factorized(architecture: Architecture, shape: tuple[int, ...], mean: torch.Tensor) -> Any:
    return _layers("readouts").FullFactorized2d(shape, len(mean), bias=True, mean_activity=mean.clone())


def _gaussian(architecture: Architecture, shape: tuple[int, ...], mean: torch.Tensor) -> Any:
    return _layers("readouts").FullGaussian2d(
        shape,
        len(mean),
        bias=True,
        init_mu_range=0.3,
        init_sigma=architecture.init_sigma,
        mean_activity=mean.clone(),
    )


READOUTS: Final[Mapping[str, Callable[[Architecture, tuple[int, ...], torch.Tensor], Any]]] = {
    "factorized": _factorized,
    "gaussian": _gaussian,
}
"""Name to what makes neuralpredictors' readout: FullFactorized2d and FullGaussian2d."""


def _layers(name: str) -> Any:
    try:
        return neuralpredictors_module(f"layers.{name}")
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "neuralpredictors is not installed",
            place="cnn",
            expected="the extra that has its core and readouts",
            fix="pip install 'nsd-bench[sensorium]'",
        ) from error

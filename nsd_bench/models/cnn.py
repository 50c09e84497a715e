"""The `cnn` baseline: a convolutional network trained end to end, on one package or on several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from nsd_bench.errors import ModelError
from nsd_bench.models.checked import Within
from nsd_bench.models.cnn_module import Architecture, CnnModule
from nsd_bench.models.guard import FittingView, fitting_view
from nsd_bench.models.image_means import image_means, unit_ids, validation_card
from nsd_bench.models.model import Model, distinct_images
from nsd_bench.models.progress import History
from nsd_bench.models.training import train_network
from nsd_bench.models.training_options import TrainingOptions
from nsd_bench.package.read import Package

__all__ = ["CnnModel", "CnnOptions", "LinearCnnOptions", "fit_cnn", "fit_cnns", "fit_linear_cnn"]

_KEY = "own"


@dataclass(frozen=True, eq=False)
class CnnModel(Model):
    """A trained network with the readout of one package.

    Parameters
    ----------
    module
        A `CnnModule` with one readout; it is put into evaluation mode.
    unit_ids : int64 array of shape (n_units,)
    card
        With `architecture` and `image_shape`, from which the module can be built anew.
    """

    module: CnnModule
    unit_ids: npt.NDArray[np.int64]
    card: dict[str, Any]

    def __post_init__(self) -> None:
        self.module.eval()

    @property
    def _key(self) -> str:
        (key,) = self.module.readouts
        return str(key)

    @torch.no_grad()
    def predict(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them. Of the shape that it was trained on.

        Raises
        ------
        ModelError
            If the images are not of the shape that it was trained on.
        """
        shape = self.card["image_shape"]
        if list(images.shape[1:]) != shape:
            raise ModelError(
                f"images of shape {' x '.join(map(str, images.shape[1:]))}",
                place=f"model trained on {self.card.get('package')}",
                expected=" x ".join(map(str, shape)) + " (channels x height x width)",
                fix="predict a package of the recipe that it was trained on",
            )
        device = self.module.image_mean.device
        return np.asarray(self.module(torch.tensor(images, device=device), self._key).cpu().numpy())

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return parameters and buffers of the module, and `unit_ids`."""
        prefix = f"readouts.{self._key}."
        arrays = {
            name.replace(prefix, f"readouts.{_KEY}."): tensor.cpu().numpy()
            for name, tensor in self.module.state_dict().items()
        }
        return {"unit_ids": self.unit_ids, **arrays}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Build the network that the card describes, with these weights.

        Parameters
        ----------
        tensors
            What `tensors` gave.
        card
            With `architecture` and `image_shape`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If tensors are missing or contradict the card.
        """
        unit_ids = np.asarray(tensors["unit_ids"], dtype=np.int64)
        module = _network(
            Architecture(**card["architecture"]),
            tuple(card["image_shape"]),
            float(tensors["image_mean"]),
            float(tensors["image_std"]),
            {_KEY: torch.zeros(len(unit_ids))},
        )
        state = {name: torch.tensor(array) for name, array in tensors.items() if name != "unit_ids"}
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[-1].strip()) from error
        return cls(module, unit_ids, card)


@dataclass(frozen=True)
class CnnOptions(TrainingOptions, Architecture):
    """Options of the convolutional network: those of `Architecture` and of `TrainingOptions`, and these.

    Parameters
    ----------
    seed
        Of weights, order and sampling. The same seed gives the same model on the same CPU; GPUs add up in
        an order of their own.
    device
        "auto", "cpu", "cuda" or "cuda:1".
    num_workers
        Processes that read batches; 0 reads them in this one.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "cnn"
    seed: Annotated[int, Within(0)] = 0
    device: str = "auto"
    num_workers: Annotated[int, Within(0)] = 0


@dataclass(frozen=True)
class LinearCnnOptions(CnnOptions):
    """Options of the convolutional network without nonlinearities: those of `CnnOptions`, one of them fixed.

    Parameters
    ----------
    linear
        Leaves out all nonlinearities.

    Raises
    ------
    OptionError
        If a value is impossible.
    """

    place: ClassVar[str] = "linear-cnn"
    linear: Literal[True] = True


def fit_cnn(
    package: Package,
    options: CnnOptions | None = None,
    *,
    checkpoint: Path | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    **given: Any,
) -> CnnModel:
    """Train a convolutional network on one package; everything else is as for `fit_cnns`.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, checkpoint, log_dir, progress, **given
        See `fit_cnns`.

    Raises
    ------
    NsdBenchError
        If neuralpredictors is not installed.
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If the package lacks a validation tier, or the checkpoint is of another training.
    """
    options = CnnOptions.of(options, given)
    return _fitted("cnn", [package], options, checkpoint, log_dir, progress)[0]


def fit_linear_cnn(
    package: Package,
    options: LinearCnnOptions | None = None,
    *,
    checkpoint: Path | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    **given: Any,
) -> CnnModel:
    """Train the same network without its nonlinearities, in the same way.

    Parameters
    ----------
    package
        Its train and validation tiers are read, no other.
    options, **given
        See `LinearCnnOptions`; those by name count.
    checkpoint, log_dir, progress
        See `fit_cnns`.

    Raises
    ------
    NsdBenchError
        If neuralpredictors is not installed.
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If the package lacks a validation tier, or the checkpoint is of another training.
    """
    options = LinearCnnOptions.of(options, given)
    return _fitted("linear-cnn", [package], options, checkpoint, log_dir, progress)[0]


def fit_cnns(
    packages: Sequence[Package],
    options: CnnOptions | None = None,
    *,
    checkpoint: Path | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    **given: Any,
) -> list[CnnModel]:
    """Train one convolutional network on several packages: a shared core, and a readout for each.

    The epoch with the best correlation on the validation tier is kept: responses averaged over repeats, mean
    over units, then over packages. No other tier can be read while it trains. Under `torchrun` every process
    takes its part of each batch.

    Parameters
    ----------
    packages
        Of different data keys and images of one shape.
    options, **given
        See `CnnOptions`; those by name count.
    checkpoint
        File that is written after every epoch, and from which training goes on if it is there.
    log_dir
        Folder for TensorBoard's logs (extra `tensorboard`).
    progress
        Whether to draw a progress bar; None draws it where the output is a terminal.

    Returns
    -------
    models
        One for each package, in their order.

    Raises
    ------
    NsdBenchError
        If neuralpredictors is not installed.
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If packages do not fit each other, lack a validation tier, or the checkpoint is of another training.
    """
    return _fitted("cnn", packages, CnnOptions.of(options, given), checkpoint, log_dir, progress)


def _fitted(
    name: str,
    packages: Sequence[Package],
    options: CnnOptions,
    checkpoint: Path | None,
    log_dir: Path | None,
    progress: bool | None,
) -> list[CnnModel]:
    architecture = options.part(Architecture)
    views = [fitting_view(package) for package in packages]
    _check_together(views)
    module = _at_start(architecture, views, options.seed)
    history = train_network(
        module,
        views,
        options.part(TrainingOptions),
        images="uint8",
        seed=options.seed,
        device=options.device,
        num_workers=options.num_workers,
        checkpoint=checkpoint,
        made_by={"architecture": asdict(architecture)},
        log_dir=log_dir,
        progress=progress,
        name=name,
    )
    return [_model(module, view, history, name) for view in views]


def _check_together(packages: Sequence[Package]) -> None:
    first = packages[0]
    seen: dict[str, str] = {}
    for package in packages:
        if package.image_shape != first.image_shape:
            raise ModelError(
                f"has images of shape {package.image_shape}",
                place=str(package.path),
                expected=f"{first.image_shape}, as {first.name} has: one core sees the images of all",
                fix="export the packages with one recipe, or train on each alone",
            )
        if package.data_key in seen:
            raise ModelError(
                f"has data key {package.data_key!r}, as {seen[package.data_key]} has",
                place=str(package.path),
                expected="one package for each subject, session and scan",
                fix="give one of the two",
            )
        seen[package.data_key] = package.name


def _at_start(architecture: Architecture, packages: Sequence[Package], seed: int) -> CnnModule:
    """Return a network that has seen nothing but the mean of its packages' pixels and responses."""
    pixels = {
        name: float(np.mean([package.statistic("images", name) for package in packages]))
        for name in ("mean", "std")
    }
    means = {
        package.data_key: torch.from_numpy(package.statistic("responses", "mean") * package.precision)
        for package in packages
    }
    return _network(architecture, packages[0].image_shape, pixels["mean"], pixels["std"], means, seed)


def _network(
    architecture: Architecture,
    image_shape: tuple[int, ...],
    mean: float,
    std: float,
    responses: Mapping[str, torch.Tensor],
    seed: int = 0,
) -> CnnModule:
    """Return a network whose weights follow from the seed; torch's own generator stays as it is."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return CnnModule(architecture, image_shape, responses, image_mean=mean, image_std=std)


def _model(module: CnnModule, view: FittingView, history: History, name: str) -> CnnModel:
    """Return one package's part of a trained network, with what it is worth on validation images."""
    own = _network(
        module.architecture,
        view.image_shape,
        float(module.image_mean),
        float(module.image_std),
        {view.data_key: torch.zeros(view.n_units)},
    )
    state = module.state_dict()
    own.load_state_dict({name: state[name] for name in own.state_dict()})
    rows = view.rows("train")
    card = {
        "kind": "cnn",
        "package": view.name,
        "manifest_sha256": view.manifest_sha256,
        **history.made_by,
        "model": name,
        "image_shape": list(view.image_shape),
        "context": "image only",
        "training_images": len(distinct_images(view, rows)[0]),
        "training_trials": len(rows),
        "selected_on": "validation",
        "epochs": len(history.epochs),
        "best_epoch": history.best,
        "loss_by_epoch": [round(epoch.loss, 6) for epoch in history.epochs],
        "validation_r_by_epoch": [round(epoch.validation_r, 6) for epoch in history.epochs],
        "parameters": sum(parameter.numel() for parameter in own.parameters()),
    }
    model = CnnModel(own.to(module.image_mean.device), unit_ids(view), card)
    validation = image_means(view, "validation")
    figures = validation_card(view, validation, model.predict_rows(view, validation.rows))
    return CnnModel(model.module, model.unit_ids, card | figures)

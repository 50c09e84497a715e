"""Torch networks by name, with weights from the user's file, and what they expect of an image."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nsd_bench.errors import ModelError, NsdBenchError, OptionError, choices
from nsd_bench.inputs import reading

__all__ = ["LIBRARIES", "Network", "digest_of", "load_into", "load_network", "read_weights"]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_PIXELS: Final = 224


@dataclass(frozen=True)
class Network:
    """A network and how images are prepared for it.

    Parameters
    ----------
    module
        In evaluation mode.
    name
        As it was asked for.
    pixels
        Images are resized to a square of this side, bilinear with antialiasing.
    mean, std
        Of red, green and blue, between 0 and 1, as the network was trained.
    """

    module: nn.Module
    name: str
    pixels: int = _PIXELS
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    @property
    def card(self) -> dict[str, Any]:
        """What features depend on; the digest is of architecture and weights."""
        return {
            "name": self.name,
            "sha256": digest_of(self.module),
            "pixels": self.pixels,
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
        }

    @property
    def layers(self) -> list[str]:
        """Names of the modules inside."""
        return [name for name, _ in self.module.named_modules() if name]

    def prepare(self, images: npt.NDArray[Any], device: str = "cpu") -> Tensor:
        """Return images as the network expects them, float32 of shape (n, 3, pixels, pixels).

        Parameters
        ----------
        images : uint8 array of shape (n, channels, height, width)
            Grey (one channel) or RGB.
        device
            On which the tensor lies, as torch calls it.
        """
        x = torch.from_numpy(np.array(images)).to(device).float() / 255
        x = x.expand(-1, 3, -1, -1)
        size = [self.pixels, self.pixels]
        x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (self.mean, self.std))
        return (x - mean) / std

    def outputs(self, images: npt.NDArray[Any], layers: Sequence[str], device: str = "cpu") -> list[Tensor]:
        """Return what some layers give for images, in the order of `layers`.

        Parameters
        ----------
        images : uint8 array of shape (n, channels, height, width)
            Grey (one channel) or RGB.
        layers
            Some of `layers`.
        device
            Where it is computed, as torch calls it.

        Raises
        ------
        OptionError
            If the network has no such layer.
        ModelError
            If the network cannot take these images, or a layer was not used, or gave no tensor.
        """
        modules = [self._layer(name) for name in layers]
        found: dict[int, Any] = {}
        hooks = [
            module.register_forward_hook(lambda _, __, output, i=i: found.__setitem__(i, output))
            for i, module in enumerate(modules)
        ]
        try:
            with torch.inference_mode():
                self.module.to(device)(self.prepare(images, device))
        except RuntimeError as error:
            size = f"{self.pixels} x {self.pixels} pixels, {len(images)} at once"
            raise ModelError(
                f"cannot take images of {size} ({error})",
                place=f"network {self.name}",
                expected="images of the size that it was made for, in batches that fit into memory",
                fix="give other --pixels, or a smaller --batch-size",
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        return [self._tensor(found.get(i), name) for i, name in enumerate(layers)]

    def _layer(self, name: str) -> nn.Module:
        modules: dict[str, nn.Module] = dict(self.module.named_modules())
        if not name or name not in modules:
            raise OptionError(
                f"there is no layer {name!r}",
                place=f"network {self.name}",
                expected=choices(name, self.layers),
                fix="list them with --list-layers, and correct --layers",
            )
        return modules[name]

    def _tensor(self, output: Any, name: str) -> Tensor:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if not isinstance(first, Tensor):
            problem = "was not used for these images" if output is None else f"gave a {type(first).__name__}"
            raise ModelError(
                problem,
                place=f"network {self.name}, layer {name}",
                expected="a tensor, or a tuple that begins with one",
                fix="choose a layer that gives one",
            )
        return first


def load_network(
    name: str,
    weights: Path | None = None,
    *,
    pixels: int | None = None,
    untrained: int | None = None,
) -> Network:
    """Make a network by its name, in evaluation mode.

    Nothing is downloaded.

    Parameters
    ----------
    name
        "timm:NAME", "torchvision:NAME" or "open_clip:NAME" for the architectures of these libraries, where
        they are installed, or "package.module:callable" for a function without arguments that returns a
        module. The latter runs that code.
    weights
        A state dict as safetensors, or as `torch.save` wrote it; no code in it is run. None is for callables
        that load their own.
    pixels
        Side of its images; None for what the library says, or else 224.
    untrained
        Seed of random weights, instead of a file.

    Raises
    ------
    OptionError
        If there is no such network, or neither weights nor `untrained` were given for one of a library.
    ModelError
        If the weights cannot be read or belong to another network.
    NsdBenchError
        If the library is not installed.
    """
    library, _, rest = name.partition(":")
    if not rest:
        expected = [*(f"{known}:NAME" for known in LIBRARIES), "package.module:callable"]
        raise _no_network(name, f"cannot tell whose network {name!r} is", choices(name, expected))
    if library in LIBRARIES and weights is None and untrained is None:
        problem = f"{name} has no weights, and none are downloaded here"
        raise _no_network(name, problem, "a file with weights", "give --weights FILE, or --untrained SEED")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(untrained or 0)
        network = LIBRARIES.get(library, _from_callable)(name, rest)
    if weights is not None:
        load_into(network.module, weights)
    network.module.eval().requires_grad_(False)
    return network if pixels is None else Network(network.module, name, pixels, network.mean, network.std)


def _timm(name: str, architecture: str) -> Network:
    timm = _library("timm")
    if architecture not in timm.list_models():
        raise _no_network(name, f"timm has no {architecture!r}", choices(architecture, timm.list_models()))
    module = timm.create_model(architecture, pretrained=False)
    card = timm.data.resolve_model_data_config(module)
    return Network(module, name, int(card["input_size"][-1]), tuple(card["mean"]), tuple(card["std"]))


def _torchvision(name: str, architecture: str) -> Network:
    models = _library("torchvision").models
    if architecture not in models.list_models():
        known = models.list_models()
        raise _no_network(name, f"torchvision has no {architecture!r}", choices(architecture, known))
    return Network(models.get_model(architecture, weights=None), name)


def _open_clip(name: str, architecture: str) -> Network:
    open_clip = _library("open_clip")
    if architecture not in open_clip.list_models():
        known = open_clip.list_models()
        raise _no_network(name, f"open_clip has no {architecture!r}", choices(architecture, known))
    visual = open_clip.create_model(architecture, pretrained=None).visual
    size = visual.image_size
    pixels = int(size[0] if isinstance(size, (tuple, list)) else size)
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return Network(visual, name, pixels, tuple(visual.image_mean or mean), tuple(visual.image_std or std))


LIBRARIES: Final[Mapping[str, Callable[[str, str], Network]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "open_clip": _open_clip,
}
"""Prefix of a network's name to the function that makes it."""


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            problem, fix = "is not installed", "pip install 'nsd-bench[networks]'"
        else:  # A torchvision that was built for another torch raises RuntimeError, or OSError.
            problem = f"cannot be imported ({type(error).__name__}: {error})"
            fix = "install torch and torchvision again, both from the same index"
        raise NsdBenchError(
            f"{name} {problem}", place="networks", expected="the extra with networks", fix=fix
        ) from error


def _from_callable(name: str, attribute: str) -> Network:
    try:
        make = getattr(importlib.import_module(name.partition(":")[0]), attribute)
    except (ImportError, AttributeError) as error:
        expected = f"{' or '.join(f'{known}:NAME' for known in LIBRARIES)}, or package.module:callable"
        raise _no_network(name, f"cannot be imported ({error})", expected) from error
    try:
        module = make()
    except Exception as error:  # It is the user's own code, which may raise anything.
        problem = f"raises {type(error).__name__}: {error}"
        raise _no_network(name, problem, "a function without arguments that returns a module") from error
    if not isinstance(module, nn.Module):
        raise _no_network(name, f"returns a {type(module).__name__}", "a torch.nn.Module")
    return Network(module, name)


def _no_network(name: str, problem: str, expected: str, fix: str = "correct --model") -> OptionError:
    return OptionError(problem, place=f"--model {name}", expected=expected, fix=fix)


_NAMED: Final = 3
_TOWER: Final = "visual."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict; nothing in the file is ever run.

    Parameters
    ----------
    path
        safetensors, or what `torch.save` wrote of a state dict, or of a checkpoint that holds one as
        "state_dict" or "model". A leading "module." of every name is removed.

    Raises
    ------
    ModelError
        If it is neither.
    """
    with reading(path, partial(_bad_weights, path)):
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        state = state[key] if isinstance(state, dict) and isinstance(state.get(key), dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise _bad_weights(path, "holds no state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_into(module: nn.Module, path: Path) -> None:
    """Give a module the weights of a file; of CLIP's, those of the image tower, below "visual.".

    Parameters
    ----------
    module
        Changed in place.
    path
        File of weights, see `read_weights`.

    Raises
    ------
    ModelError
        If the file cannot be read, or has not exactly the tensors of the module.
    """
    state, own = read_weights(path), module.state_dict()
    if not set(state) & set(own):
        tower = {name: value for name, value in state.items() if name.startswith(_TOWER)}
        state = {name.removeprefix(_TOWER): value for name, value in tower.items()} or state
    wrong = [
        *(f"{name} is missing" for name in own if name not in state),
        *(f"{name} is not the network's" for name in state if name not in own),
        *(
            f"{name} has shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise _bad_weights(path, f"belongs to another network: {', '.join(wrong[:_NAMED])}{more}")
    module.load_state_dict(state)


def digest_of(module: nn.Module) -> str:
    """Return a digest of architecture and weights: 64 hex characters.

    Parameters
    ----------
    module
        Any torch module; its names of layers, their shapes and weights count.
    """
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else str(array.item()).encode())
    return digest.hexdigest()


def _bad_weights(path: Path, problem: str) -> ModelError:
    return ModelError(
        problem,
        place=str(path),
        expected="a state dict of the network, as safetensors or as torch.save writes it",
        fix="give the file that belongs to --model",
    )

"""How long a training step of the `cnn` baseline takes, against the same network and loop in plain torch.

Both start from the same weights and see the same batches; their losses are checked to agree. Steps alternate,
so that whatever else the machine does slows both. On a GPU the sizes are NSD's: 15,724 units, 224 x 224 RGB.
The loader is measured apart: give a package to see its share.

    python benchmarks/cnn.py [--units 500] [--pixels 64] [--batch 64] [--steps 40] [--package PACKAGE]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.functional import mse_loss, pixel_unshuffle

from nsd_bench.loaders.batch import Batch, make_batch
from nsd_bench.loaders.dataloaders import JointLoader
from nsd_bench.models.cnn_module import Architecture, CnnModule
from nsd_bench.models.distributed import Processes
from nsd_bench.models.training import Trainer
from nsd_bench.models.training_loaders import TrainingLoaders, training_loaders
from nsd_bench.models.training_options import TrainingOptions, read_device
from nsd_bench.package.read import Package

KEY = "1-1-0"
N_BATCHES = 4
MEAN, STD = 120.0, 60.0


class Plain(nn.Module):
    """The default network, as one would write it down."""

    def __init__(self, ours: CnnModule) -> None:
        super().__init__()
        self.fold = ours.fold
        blocks = []
        for layer in ours.core.features:
            conv, norm = layer.conv, layer.norm
            fresh = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                conv.padding,
                bias=conv.bias is not None,
            )
            blocks += [fresh, nn.BatchNorm2d(norm.num_features), nn.ELU(inplace=True)]
            fresh.load_state_dict(conv.state_dict())
        self.core = nn.Sequential(*blocks)
        readout = ours.readouts[KEY]
        self.spatial = nn.Parameter(readout.spatial.detach().clone())
        self.features = nn.Parameter(readout.features.detach().clone())
        self.bias = nn.Parameter(readout.bias.detach().clone())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.core(pixel_unshuffle((images.float() - MEAN) / STD, self.fold))
        mask = self.spatial / (self.spatial.square().sum(dim=(1, 2), keepdim=True).sqrt() + 1e-6)
        pooled = torch.einsum("nchw,uhw->ncu", maps, mask)
        return torch.einsum("ncu,uc->nu", pooled, self.features) + self.bias


def plain_step(
    model: Plain, options: TrainingOptions, device: torch.device
) -> Callable[[Batch], torch.Tensor]:
    optimizer = torch.optim.AdamW(
        model.parameters(), options.learning_rate, weight_decay=options.weight_decay
    )
    dtype = torch.bfloat16

    def step(batch: Batch) -> torch.Tensor:
        images = batch.images.to(device, non_blocking=True)
        observed = batch.responses.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype, enabled=options.precision == "bfloat16"):
            predicted = model(images)
        loss = mse_loss(predicted.float(), observed)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


def synthetic(n: int, shape: tuple[int, ...], n_units: int) -> Batch:
    generator = torch.Generator().manual_seed(n_units)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    return make_batch({"images": images, "responses": torch.randn(n, n_units, generator=generator)})


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def measure(
    shape: tuple[int, ...], n_units: int, batch_size: int, n_steps: int, precision: Any, device: torch.device
) -> None:
    options = TrainingOptions(precision=precision, batch_size=batch_size)
    torch.manual_seed(0)
    module = CnnModule(Architecture(), shape, {KEY: torch.zeros(n_units)}, image_mean=MEAN, image_std=STD)
    plain = Plain(module).to(device)
    no_data = TrainingLoaders(JointLoader({}), {}, [], {})
    trainer = Trainer(module.to(device), no_data, options, Processes(0, 1, device))
    batches = [synthetic(batch_size, shape, n_units) for _ in range(N_BATCHES)]
    steps: tuple[Callable[[Batch], torch.Tensor], ...] = (
        plain_step(plain, options, device),
        lambda batch: trainer.step(KEY, batch),
    )
    losses = [[float(step(batch)) for batch in batches] for step in steps]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-2, atol=1e-3)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(n_steps):
        batch = batches[number % N_BATCHES]
        for which in (number % 2, 1 - number % 2):
            times[which].append(seconds(lambda s=steps[which], b=batch: s(b), device))  # type: ignore[misc]
    plain_ms, ours_ms = (1e3 * median(found) for found in times)
    ratios = [ours / theirs for theirs, ours in zip(*times, strict=True)]
    print(
        f"{precision}, batch {batch_size} of {' x '.join(map(str, shape))}, {n_units} units on {device}: "
        f"plain torch {plain_ms:.1f} ms, ours {ours_ms:.1f} ms, median of paired ratios {median(ratios):.3f}"
    )
    if device.type == "cuda":
        print(f"  peak of both together {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB")


def measure_loader(package: Package, batch_size: int, device: torch.device) -> None:
    options = TrainingOptions(batch_size=batch_size)
    data = training_loaders([package], options, Processes(0, 1, device), images="uint8")
    for _ in range(2):
        data.start(0)
        total = seconds(lambda: [batch.images.shape for _, batch in data.train], device)
    print(f"loader alone: {1e3 * total / len(data.train):.1f} ms a batch of {batch_size}, {package.name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    has_gpu = torch.cuda.is_available()
    parser.add_argument("--units", type=int, default=15_724 if has_gpu else 500)
    parser.add_argument("--pixels", type=int, default=224 if has_gpu else 64)
    parser.add_argument("--channels", type=int, default=3 if has_gpu else 1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--package", type=Package)
    given = parser.parse_args()
    device = read_device(given.device)
    shape = (given.channels, given.pixels, given.pixels)
    for precision in ("float32", "bfloat16") if has_gpu else ("float32",):
        measure(shape, given.units, given.batch, given.steps, precision, device)
    if given.package is not None:
        measure_loader(given.package, given.batch, device)


if __name__ == "__main__":
    main()

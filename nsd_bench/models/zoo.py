"""Baselines by name: how each is fitted and with which options; models on disk, and their submissions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, overload

from nsd_bench.errors import ModelError, choices
from nsd_bench.models.banded import BandedRidgeOptions, fit_banded_ridge
from nsd_bench.models.checked import CheckedOptions
from nsd_bench.models.cnn import CnnModel, CnnOptions, LinearCnnOptions, fit_cnn, fit_cnns, fit_linear_cnn
from nsd_bench.models.distributed import is_first_process
from nsd_bench.models.fwrf import FwrfModel, FwrfOptions, fit_fwrf
from nsd_bench.models.guard import FewerImages
from nsd_bench.models.linear import (
    LinearModel,
    MeanOptions,
    fit_features_ridge,
    fit_linear_gabor,
    fit_linear_pixels,
    fit_mean,
    fit_ridge,
)
from nsd_bench.models.model import Model
from nsd_bench.models.model_files import (
    MODEL_SUFFIX,
    broken_model,
    fitting_card,
    read_card,
    read_tensors,
    write_tensors,
)
from nsd_bench.models.repeat_oracle import RepeatOracle, RepeatOracleOptions, fit_repeat_oracle
from nsd_bench.models.ridge_options import FeaturesRidgeOptions, RidgeOptions
from nsd_bench.models.training import CHECKPOINT_SUFFIX
from nsd_bench.outputs import refuse_existing
from nsd_bench.package.read import Package
from nsd_bench.package.spec import SUBMISSION_CSV_SUFFIX, SUBMISSION_SUFFIX
from nsd_bench.package.submission import Submission, write_csv

__all__ = [
    "BASELINES",
    "MODELS",
    "Baseline",
    "Model",
    "Submitted",
    "Trained",
    "baseline_named",
    "load_model",
    "save_model",
    "submit",
    "submit_each",
    "train",
    "train_each",
]


@dataclass(frozen=True)
class Baseline:
    """How a baseline is fitted.

    Parameters
    ----------
    fit
        `fit(package, options=None, **given)` returns a model; options can be given by name, too.
    options
        Class of its options.
    about
        What it is, in a line.
    resumes
        Whether `fit` also takes `checkpoint`, `log_dir` and `progress`: it trains in epochs.
    fit_together
        Fits one to several packages at once and returns a model of each; None if it cannot.
    """

    fit: Callable[..., Model]
    options: type[CheckedOptions]
    about: str
    resumes: bool = False
    fit_together: Callable[..., Sequence[Model]] | None = None


BASELINES: Final[Mapping[str, Baseline]] = {
    "mean": Baseline(fit_mean, MeanOptions, "each unit's mean over training trials"),
    "linear-pixels": Baseline(fit_linear_pixels, RidgeOptions, "ridge on pixels: linear in the image"),
    "linear-gabor": Baseline(
        fit_linear_gabor, RidgeOptions, "ridge on Gabor filters with their signs: linear in the image"
    ),
    "linear-cnn": Baseline(
        fit_linear_cnn, LinearCnnOptions, "cnn without its nonlinearities (extra sensorium)", resumes=True
    ),
    "gabor-ridge": Baseline(fit_ridge, RidgeOptions, "ridge on Gabor energies"),
    "fwrf": Baseline(fit_fwrf, FwrfOptions, "feature-weighted receptive field"),
    "features-ridge": Baseline(
        fit_features_ridge, FeaturesRidgeOptions, "ridge on features of any network, a penalty for each unit"
    ),
    "banded-ridge": Baseline(
        fit_banded_ridge,
        BandedRidgeOptions,
        "ridge with a penalty for each unit and band of features (extra himalaya)",
    ),
    "cnn": Baseline(
        fit_cnn,
        CnnOptions,
        "convolutional network, trained end to end (extra sensorium)",
        resumes=True,
        fit_together=fit_cnns,
    ),
    "repeat-oracle": Baseline(
        fit_repeat_oracle,
        RepeatOracleOptions,
        "the other repeats of the same image: an upper anchor, no model (needs the truth)",
    ),
}
"""Name to how it is fitted; contract tests run over all of them."""

MODELS: Final[Mapping[str, type[Model]]] = {
    "linear": LinearModel,
    "fwrf": FwrfModel,
    "cnn": CnnModel,
    "repeat-oracle": RepeatOracle,
}
"""Kind, as cards have it, to the class that puts such a model together; contract tests run over it."""


def baseline_named(name: str, *, together: bool = False) -> Baseline:
    """Return a baseline.

    Parameters
    ----------
    name
        Key of `BASELINES`.
    together
        Whether it has to be one that is fitted to several packages at once.

    Raises
    ------
    ModelError
        If there is none of this name, or it cannot be fitted to several packages at once.
    """
    known = [key for key, one in BASELINES.items() if one.fit_together or not together]
    if name not in known:
        raise ModelError(
            f"baseline {name!r} is fitted to one package alone"
            if name in BASELINES
            else f"there is no baseline {name!r}",
            place="train",
            expected=choices(name, known),
            fix="leave out 'together'" if name in BASELINES else "correct 'baseline'",
        )
    return BASELINES[name]


class Trained(NamedTuple):
    """One model that was trained.

    Parameters
    ----------
    model
        With its card.
    file
        Where it was written; None if it was not.
    seconds
        How long its fit took, that of all models that were trained together.
    """

    model: Model
    file: Path | None
    seconds: float


@overload
def train(
    packages: Package,
    baseline: str = "gabor-ridge",
    options: CheckedOptions | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    together: bool = False,
    n_images: int | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    force: bool = False,
    **given: Any,
) -> Model: ...


@overload
def train(
    packages: Sequence[Package],
    baseline: str = "gabor-ridge",
    options: CheckedOptions | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    together: bool = False,
    n_images: int | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    force: bool = False,
    **given: Any,
) -> list[Model]: ...


def train(
    packages: Package | Sequence[Package],
    baseline: str = "gabor-ridge",
    options: CheckedOptions | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    together: bool = False,
    n_images: int | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    force: bool = False,
    **given: Any,
) -> Model | list[Model]:
    """Fit a baseline to packages.

    Parameters
    ----------
    packages
        One, or several of different names.
    baseline
        Key of `BASELINES`.
    options, **given
        Of the baseline, see `BASELINES[baseline].options`; those by name count.
    out
        Folder for the models, as NAME.BASELINE.safetensors with a card beside it; None writes none. A
        training in epochs that was interrupted goes on when it is called again.
    together
        Whether one network is trained on all packages at once, with a readout for each.
    n_images
        How many training images are drawn, all repeats of each; None for all.
    log_dir
        Folder for TensorBoard's logs, one in it for each model that is trained in epochs.
    progress
        Whether to draw a progress bar of the epochs; None draws it where the output is a terminal.
    force
        Whether models that are there are replaced.

    Returns
    -------
    models
        The model of the one package that was given, or a list of one for each, in their order.

    Raises
    ------
    ModelError
        If there is no such baseline, two packages have one name, or a tier lacks images.
    OptionError
        If an option is unknown or its value impossible.
    OutputError
        If a model is there already; before anything is trained.
    """
    several = [packages] if isinstance(packages, Package) else packages
    models = [
        one.model
        for one in train_each(
            several,
            baseline,
            options,
            out=out,
            together=together,
            n_images=n_images,
            log_dir=log_dir,
            progress=progress,
            force=force,
            **given,
        )
    ]
    return models[0] if isinstance(packages, Package) else models


def train_each(
    packages: Sequence[Package],
    baseline: str = "gabor-ridge",
    options: CheckedOptions | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    together: bool = False,
    n_images: int | None = None,
    log_dir: Path | None = None,
    progress: bool | None = None,
    force: bool = False,
    **given: Any,
) -> Iterator[Trained]:
    """Do what `train` does, and yield each model when it is there, so that no more than one is in memory.

    Parameters
    ----------
    packages, baseline, options, out, together, n_images, log_dir, progress, force, **given
        See `train`.

    Raises
    ------
    ModelError, OptionError, OutputError
        See `train`.
    """
    chosen = baseline_named(baseline, together=together)
    checked: Any = chosen.options.of(options, given)
    if n_images is not None:
        packages = [FewerImages(package, n_images, checked.seed) for package in packages]
    files = _model_files(packages, baseline, None if out is None else Path(out), force=force)
    jobs = [(packages, files)] if together else [([p], [f]) for p, f in zip(packages, files, strict=True)]
    for job, targets in jobs:
        start = time.perf_counter()
        checkpoint = _checkpoint(targets[0], together=together) if chosen.resumes else None
        run: dict[str, Any] = {}
        if chosen.resumes:
            logs = None if log_dir is None else log_dir / f"{job[0].name}.{baseline}"
            run = {"checkpoint": checkpoint, "log_dir": logs, "progress": progress}
        if together and chosen.fit_together is not None:
            models = chosen.fit_together(job, checked, **run)
        else:
            models = [chosen.fit(job[0], checked, **run)]
        # Not in the card: the same package has to give the same bytes.
        seconds = time.perf_counter() - start
        for model, file in zip(models, targets, strict=True):
            if file is not None and is_first_process():
                save_model(model, file)
            yield Trained(model, file, seconds)
        if checkpoint is not None and is_first_process():
            checkpoint.unlink(missing_ok=True)


def _model_files(
    packages: Sequence[Package], baseline: str, out: Path | None, *, force: bool
) -> list[Path | None]:
    """Return where the model of each package is written, after looking whether it may be."""
    names = [package.name for package in packages]
    for package in packages:
        if names.count(package.name) > 1:
            raise ModelError(
                f"{package.name!r} was given more than once",
                place=str(package.path),
                expected="packages of different names, since models are called after them",
                fix="name each package once",
            )
    if out is None:
        return [None] * len(names)
    files = [out / f"{name}.{baseline}{MODEL_SUFFIX}" for name in names]
    for file in files:
        refuse_existing(file, force=force)
    return list(files)


def _checkpoint(file: Path | None, *, together: bool) -> Path | None:
    suffix = (".together" if together else "") + CHECKPOINT_SUFFIX
    return None if file is None else file.with_suffix(suffix)


class Submitted(NamedTuple):
    """One submission that was made.

    Parameters
    ----------
    submission
        Predictions of a package's withheld tiers, with a card.
    file
        Where it was written; None if it was not.
    """

    submission: Submission
    file: Path | None


def submit(
    models: Iterable[Model | str | os.PathLike[str]],
    packages: Iterable[Package],
    tiers: Sequence[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    csv: bool = False,
    force: bool = False,
) -> list[Submission]:
    """Let models predict the withheld tiers of the packages that they were trained on.

    Parameters
    ----------
    models
        Models, or their files; no two of one package.
    packages
        With at least those that the models were trained on.
    tiers
        What is predicted; None for test and final_test.
    out
        Folder for the submissions, as NAME.submission.npz of the package; None writes none.
    csv
        Whether the table of Sensorium's kit is written, too.
    force
        Whether submissions that are there are replaced.

    Returns
    -------
    submissions
        One for each model, in their order.

    Raises
    ------
    ModelError
        If a model was trained on no package that was given, or two on the same; before any predicts.
    OutputError
        If a submission is there already; before any model predicts.
    """
    made = submit_each(models, packages, tiers, out=out, csv=csv, force=force)
    return [one.submission for one in made]


def submit_each(
    models: Iterable[Model | str | os.PathLike[str]],
    packages: Iterable[Package],
    tiers: Sequence[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    csv: bool = False,
    force: bool = False,
) -> Iterator[Submitted]:
    """Do what `submit` does, and yield each submission when it is there, so that one is in memory.

    Parameters
    ----------
    models, packages, tiers, out, csv, force
        See `submit`.

    Raises
    ------
    ModelError, OutputError
        See `submit`.
    """
    by_name = {package.name: package for package in packages}
    model_of = _model_of_each(models, by_name)
    folder = None if out is None else Path(out)
    if folder is not None:
        for name in model_of:
            for suffix in (SUBMISSION_SUFFIX, SUBMISSION_CSV_SUFFIX):
                refuse_existing(folder / f"{name}{suffix}", force=force)
    for name, given in model_of.items():
        package = by_name[name]
        submission = (given if isinstance(given, Model) else load_model(given)).submission(package, tiers)
        file = None if folder is None else folder / f"{name}{SUBMISSION_SUFFIX}"
        if file is not None:
            submission.write(file)
            if csv:
                images = package.trials.set_index("trial_idx").loc[submission.trial_idx, "frame_image_id"]
                write_csv(submission, file.with_name(f"{name}{SUBMISSION_CSV_SUFFIX}"), images.to_numpy())
        yield Submitted(submission, file)


def _model_of_each(
    models: Iterable[Model | str | os.PathLike[str]], by_name: Mapping[str, Package]
) -> dict[str, Model | str | os.PathLike[str]]:
    """Return the one model of each package, reading the cards of files only: models are large."""
    model_of: dict[str, Model | str | os.PathLike[str]] = {}
    for model in models:
        name = str((model.card if isinstance(model, Model) else read_card(model)).get("package"))
        place = str(model.card.get("model")) if isinstance(model, Model) else str(model)
        if name not in by_name:
            raise ModelError(
                f"was trained on {name!r}, which is not among the packages",
                place=place,
                expected=choices(name, sorted(by_name)),
                fix="give that package with --package",
            )
        if name in model_of:
            former = model_of[name]
            other = former.card.get("model") if isinstance(former, Model) else Path(former).name
            raise ModelError(
                f"was trained on {name!r}, as {other} was",
                place=place,
                expected="one model a package, since a submission is called after its package",
                fix="name the model files that you mean, and give each kind of model its own --out",
            )
        model_of[name] = model
    return model_of


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write NAME.safetensors and NAME.json; the same model, the same bytes.

    Parameters
    ----------
    model
        Any model of `MODELS`.
    path
        NAME.safetensors.

    Raises
    ------
    ModelError
        If `path` has another suffix, or the card is not JSON.
    """
    write_tensors(path, model.tensors(), model.card)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model; nothing in it is ever unpickled or run.

    Parameters
    ----------
    path
        NAME.safetensors, with NAME.json beside it.

    Raises
    ------
    ModelError
        If it is not a model, is damaged, was made by another version, or its tensors contradict its card.
    """
    path = Path(path)
    card, tensors = read_card(path), read_tensors(path)
    if str(card.get("kind")) not in MODELS:
        raise broken_model(path, f"is of kind {card.get('kind')!r}", choices(card.get("kind"), MODELS))
    with fitting_card(path):
        try:
            return MODELS[card["kind"]].from_tensors(tensors, card)
        except ModelError as error:  # of its features, which do not know whose they are
            if str(path) in error.place:
                raise
            raise ModelError(
                error.problem, place=f"{path}, {error.place}", expected=error.expected, fix=error.fix
            ) from error

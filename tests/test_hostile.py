"""Every reader is fed hostile files: an error of ours that names the file, or a right result, in bounds.

The table of readers is `READERS`: what makes a good file, and the public door that reads it. `mutations`
makes the hostile ones; HOSTILE_SCALE=20 in the environment makes twenty times as many at random.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import random
import resource
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import mutations as m
import nibabel as nib
import numpy as np
import packages as tiny
import pandas as pd
import pytest

from nsd_bench.errors import NsdBenchError, PackageError, has_errors

MOST_BYTES = 450 << 20
MOST_SECONDS = 6.0
LARGE = ("swell", "4 GB", "huge", "large", "monstrous", "nested", "entities", "dim", "word")
"""The peak of memory is forgotten before inputs that are called so, which takes time."""
SCALE = int(os.environ.get("HOSTILE_SCALE", "1"))
RNG = np.random.default_rng(0)
SHAPE = (5, 4, 3)
N_VERTICES = 12


@dataclasses.dataclass(frozen=True)
class Reader:
    """A good file, how it is read, and what is done to it.

    `files` are those below what `make` returns that are mutated; "" is that itself. `as_text`: a file that
    is cut can be a shorter one of its kind. `unread`: a file that is replaced by nothing readable may be
    passed over, as one that need not be there. `called`: how errors of several files together name these.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    mutate: Callable[[bytes, random.Random, int], m.Mutated]
    files: tuple[str, ...] = ("",)
    as_text: bool = False
    optional: bool = False
    n: int = 12
    called: str = ""


def written(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def frozen(value: Any) -> Any:
    """Something that two equal results have in common."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(value)}
    if isinstance(value, pd.DataFrame | pd.Series):
        return value.to_json(default_handler=str)
    if isinstance(value, np.ndarray):
        return (
            value.dtype.str,
            value.shape,
            value.tobytes() if value.dtype != object else repr(value.tolist()),
        )
    if isinstance(value, dict):
        return sorted((repr(key), frozen(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return [frozen(one) for one in value]
    return repr(value)


# -- readers ----------------------------------------------------------------------------------------------


def validated(path: Path) -> Any:
    """List what is wrong with a package; what is wrong stops no check."""
    from nsd_bench.package.validate import validate

    issues = validate(path)
    if has_errors(issues):
        raise PackageError("\n".join(map(str, issues)), place=str(path), expected="", fix="")
    return None


def read_package(path: Path) -> Any:
    """Open a package and look at everything in it."""
    from nsd_bench.package.read import Package

    package = Package(path)
    rows = package.rows("train")
    return [
        package.manifest, package.subject, package.data_key, package.tiers, package.trials, package.units,
        package.roi_names, package.units_dropped, package.behavior_names, package.fit_on, package.precision,
        package.images(rows), package.responses(rows), package.behavior(rows),
        package.standardised_responses(rows),
    ]  # fmt: skip


def make_folder(folder: Path) -> Path:
    return tiny.make_package(folder)


def make_zip(folder: Path) -> Path:
    return Path(f"{tiny.make_package(folder)}.zip")


def make_packed(folder: Path) -> Path:
    from click.testing import CliRunner

    from nsd_bench.cli.packages import pack_command

    result = CliRunner().invoke(
        pack_command, [str(tiny.make_package(folder)), "--out", str(folder / "p.packed")]
    )
    assert result.exit_code == 0, result.output
    return folder / "p.packed" / "tiny-subj02.packed"


def a_truth() -> Any:
    from test_scoring import make_truth

    return make_truth(n_images=6, k=2, n_units=4)[0]


def make_truth_file(folder: Path) -> Path:
    a_truth().write(folder / "a.truth.npz")
    return folder / "a.truth.npz"


def read_truth(path: Path) -> Any:
    from nsd_bench.package.truth import load_truth

    return load_truth(path)


def a_submission() -> Any:
    from test_scoring import submit

    truth = a_truth()
    return submit(truth, truth.responses)


def make_submission(folder: Path) -> Path:
    a_submission().write(folder / "a.submission.npz")
    return folder / "a.submission.npz"


def read_submission(path: Path) -> Any:
    """Score a submission, which is where odd arrays show."""
    from nsd_bench.package.submission import Submission
    from nsd_bench.scoring import ScoreOptions, score_subject

    submission = Submission.read(path)
    try:
        return score_subject(submission, a_truth(), ScoreOptions(n_draws=0)).to_json()
    except NsdBenchError as error:  # of what it says, not of the file
        return str(error)


def make_csv(folder: Path) -> Path:
    from nsd_bench.package.submission import write_csv

    write_csv(a_submission(), folder / "a.submission.csv", np.arange(12) // 2)
    return folder / "a.submission.csv"


def read_csv(path: Path) -> Any:
    from nsd_bench.package.submission import read_csv

    return read_csv(path)


def some_scores() -> Any:
    from nsd_bench.scoring import ScoreOptions, score_subject

    return score_subject(a_submission(), a_truth(), ScoreOptions(n_draws=0))


def make_scores(folder: Path) -> Path:
    from nsd_bench.scoring import ScoreOptions, Scores

    Scores.of([some_scores()], ScoreOptions(n_draws=0)).save(folder / "a.json")
    (folder / "a.card.json").write_text(
        json.dumps({"title": "A", "team": "us", "gpu_hours": 3, "links": ["x"]})
    )
    return folder


def read_scores(folder: Path) -> Any:
    """Read a score with its card and make pages of them."""
    from nsd_bench.leaderboard.reading import read_entries
    from nsd_bench.leaderboard.site import pages

    return pages(read_entries([folder / "a.json"]))


def make_comparison(folder: Path) -> Path:
    from nsd_bench.scoring import ScoreOptions
    from nsd_bench.scoring.compare import compare_scores

    one = some_scores()
    compare_scores([one], [one], ScoreOptions(n_draws=0)).save(folder / "c.json")
    return folder / "c.json"


def read_comparison(path: Path) -> Any:
    from nsd_bench.scoring.compare import Comparison

    return Comparison.load(path).to_frame()


def make_ledger(folder: Path) -> Path:
    from test_ledger import ASKED, WHEN

    from nsd_bench.leaderboard.ledger import Ledger

    Ledger(folder / "l.jsonl").open(ASKED, live="test", time=WHEN, budget=3, step=0.01)
    return folder / "l.jsonl"


def read_ledger(path: Path) -> Any:
    from nsd_bench.leaderboard.ledger import Ledger

    return [Ledger(path).lines(), Ledger(path).head(), Ledger(path).used()]


def make_audit(folder: Path) -> Path:
    images = [{"trial_idx": f"{n:032x}", "distance": n / 7} for n in range(5)]
    audit = {"package": "a", "checks": {"distances": {"features": "b", "test images": images}}}
    return written("audit.json", json.dumps(audit))(folder)


def read_audit(path: Path) -> Any:
    from nsd_bench.scoring.difficulty import read_distances

    return read_distances(path)


def make_lock(folder: Path) -> Path:
    lock = {"format": "nsd_bench.lock/1", "files": {"a": "0" * 64}, "manifest_sha256": "1", "sha256": "2"}
    return written("a.lock.json", json.dumps(lock))(folder)


def read_lock(path: Path) -> Any:
    from nsd_bench.package.lock import read_lock

    return read_lock(path)


def read_recipe(path: Path) -> Any:
    from exporters.packages.recipe import load_recipe

    return load_recipe(str(path))


def read_tiers(path: Path) -> Any:
    from tiers import load_tier_file

    return load_tier_file(str(path))


def a_recipe() -> bytes:
    import exporters

    return (Path(exporters.__file__).parent / "recipes/demo.toml").read_bytes()


def some_tiers() -> bytes:
    import tiers

    return (Path(tiers.__file__).parent / "special515.toml").read_bytes()


def read_key(path: Path) -> Any:
    from nsd_bench.package.keys import read_key

    return read_key(path)


def make_model(folder: Path) -> Path:
    from nsd_bench.models.zoo import BASELINES, save_model
    from nsd_bench.package.read import Package

    (folder / "p").mkdir()
    model = BASELINES["mean"].fit(Package(tiny.make_package(folder / "p")))
    save_model(model, folder / "m.safetensors")
    return folder


def read_model(folder: Path) -> Any:
    from nsd_bench.models.zoo import load_model

    model = load_model(folder / "m.safetensors")
    return [model.card, model.tensors()]


def read_signed_model(folder: Path) -> Any:
    """As somebody would write it who means harm: the card names the digest of whatever is there."""
    from nsd_bench.package.storage import sha256_file

    tensors, card = folder / "m.safetensors", folder / "m.json"
    if tensors.is_file() and tensors.stat().st_size:
        head = json.loads(card.read_bytes())
        card.write_text(json.dumps(head | {"tensors_sha256": sha256_file(tensors)}))
    return read_model(folder)


def make_store(folder: Path) -> Path:
    from nsd_bench.models.feature_store import FeatureStore

    store = FeatureStore.create(folder / "s", {"name": "net"})
    store.add_layer("conv", {"shape": [3]}).append([b"a" * 32, b"b" * 32], RNG.normal(size=(2, 3)))
    return folder / "s"


def read_store(path: Path) -> Any:
    from nsd_bench.models.feature_store import FeatureStore

    layer = FeatureStore(path).layer("conv")
    return layer.read(list(layer.row_of))


def make_weights(folder: Path) -> Path:
    import torch

    torch.save({"weight": torch.ones(2, 3)}, folder / "w.pt")
    return folder / "w.pt"


def read_network(path: Path) -> Any:
    from nsd_bench.models.networks import read_weights

    return {name: value.numpy() for name, value in read_weights(path).items()}


def read_tier_features(path: Path) -> Any:
    from tiers.features import read_features

    return np.asarray(read_features(path))


def read_design_table(path: Path) -> Any:
    from tiers.design import read_design_table

    return read_design_table(path)


def read_target_features(path: Path) -> Any:
    from nsd_bench.transfer.targets import read_features

    return read_features(path)


def make_target_features(folder: Path) -> Path:
    np.savez(folder / "f.npz", nsd_id=np.arange(4), features=RNG.normal(size=(4, 3)))
    return folder / "f.npz"


def read_regime(path: Path) -> Any:
    from nsd_bench.transfer.regimes import read_result

    return read_result(path)


def make_values(folder: Path) -> Path:
    np.savez(folder / "v.npz", values=RNG.normal(size=tiny.N_UNITS))
    return folder / "v.npz"


PACKAGE: list[Any] = []


def read_values(path: Path) -> Any:
    from nsd_bench.cortex.maps import array_map

    return array_map(PACKAGE[0], path)


# NSD's own files


def nifti(values: Any) -> bytes:
    return gzip.compress(nib.Nifti1Image(values, np.diag([1.8, 1.8, 1.8, 1])).to_bytes(), 1, mtime=0)


def a_grid() -> Any:
    from exporters.nsd.volumes import Grid

    return Grid(SHAPE, np.diag([1.8, 1.8, 1.8, 1.0]), Path("brainmask.nii.gz"))


def read_volume(path: Path) -> Any:
    from exporters.nsd.volumes import read_volume

    return read_volume(path, a_grid())


def read_brainmask(path: Path) -> Any:
    from exporters.nsd.volumes import read_grid

    return read_grid(path)


def read_betas(path: Path) -> Any:
    from exporters.nsd.betas import read_betas

    return read_betas([path], np.array([1, 7, 20]), a_grid(), 6)


BETAS = RNG.integers(-3000, 3000, (*SHAPE, 6), dtype=np.int16)


def make_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "betas_session01.hdf5", "w") as file:
        file.create_dataset("betas", data=BETAS.T, chunks=(1, *SHAPE[::-1]))
    return folder / "betas_session01.hdf5"


def make_mgh(folder: Path) -> Path:
    for side in ("lh", "rh"):
        values = RNG.normal(size=(N_VERTICES, 1, 1, 6)).astype(np.float32)
        nib.MGHImage(values, np.eye(4)).to_filename(folder / f"{side}.betas_session01.mgh")
    return folder


def read_mgh(folder: Path) -> Any:
    from exporters.nsd.betas import read_betas
    from exporters.nsd.surfaces import Surface

    paths = [folder / f"{side}.betas_session01.mgh" for side in ("lh", "rh")]
    return read_betas(
        paths,
        np.array([1, 5, 15]),
        Surface((N_VERTICES, N_VERTICES), (folder / "lh.white", folder / "rh.white")),
        6,
    )


def make_mgz(folder: Path) -> Path:
    values = np.arange(1, N_VERTICES + 1, dtype=np.float32).reshape(-1, 1, 1)
    nib.MGHImage(values, np.eye(4)).to_filename(folder / "lh.white-to-fsaverage.mgz")
    return folder / "lh.white-to-fsaverage.mgz"


def read_matching(path: Path) -> Any:
    from exporters.nsd.surfaces import read_matching_vertices, read_vertices

    read_vertices(path)
    return read_matching_vertices(path, N_VERTICES, "this subject's")


def read_ctab(path: Path) -> Any:
    from exporters.nsd.rois import read_label_names

    return read_label_names(path)


def read_design(path: Path) -> Any:
    from exporters.nsd.design import read_design

    return read_design(path)


def read_stimuli(path: Path) -> Any:
    from exporters.nsd.design import read_stimulus_table

    return read_stimulus_table(path)


def read_responses(path: Path) -> Any:
    from exporters.nsd.behaviour import read_responses_table

    return read_responses_table(path, 1)


def read_own_mask(path: Path) -> Any:
    from exporters.packages.units import _read_mask

    return _read_mask(path, a_grid())


def make_freesurfer(folder: Path) -> Path:
    from nibabel.freesurfer.io import write_geometry, write_morph_data

    from exporters.cortex.freesurfer import FreeSurferPatch, write_patch

    (folder / "surf").mkdir()
    (folder / "mri").mkdir()
    points = RNG.normal(size=(N_VERTICES, 3))
    triangles = np.array([(i, i + 1, i + 2) for i in range(N_VERTICES - 2)])
    write_geometry(folder / "surf/lh.white", points, triangles, create_stamp="made by hand")
    write_morph_data(folder / "surf/lh.curv", points[:, 0])
    vertices = np.arange(8)
    write_patch(folder / "surf/lh.patch", FreeSurferPatch(vertices, points[:8], np.zeros(8, dtype=bool)))
    nib.MGHImage(np.arange(60, dtype=np.int16).reshape(SHAPE), np.eye(4)).to_filename(folder / "mri/T1.mgz")
    return folder


def read_freesurfer(folder: Path) -> Any:
    from exporters.cortex.freesurfer import FreeSurfer, read_patch

    subject = FreeSurfer(folder)
    return [
        subject.surface("lh", "white"),
        subject.values("lh", "curv", N_VERTICES),
        read_patch(folder / "surf/lh.patch", N_VERTICES),
        subject.to_scanner(),
    ]


def make_coco(folder: Path) -> Path:
    from test_coco import CATEGORIES, TRAIN, TRAIN_IMAGES

    images = [
        {"id": i, "height": h, "width": w, "file_name": f"{i}", "license": 1} for i, h, w in TRAIN_IMAGES
    ]
    content = {"images": images, "annotations": TRAIN, "categories": CATEGORIES}
    (folder / "instances_train2017.json").write_text(json.dumps(content))
    captions = [{"image_id": 42, "id": 1, "caption": "a dog"}, {"image_id": 7, "id": 2, "caption": "none"}]
    (folder / "captions_train2017.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return folder


def read_coco(folder: Path) -> Any:
    from exporters.coco.parse import Captions, Instances

    objects, captions = Instances(), Captions()
    objects.add(folder / "instances_train2017.json", "train2017")
    captions.add(folder / "captions_train2017.json")
    return [objects.images(), captions.sentences(), frozen(objects.annotations())]


# cortex


def make_sheets(folder: Path) -> Path:
    from cortex_trees import make_sheets

    return make_sheets(folder).path


def read_sheets(path: Path) -> Any:
    from nsd_bench.cortex.pixelwise import read_transform
    from nsd_bench.cortex.surfaces import read_cortex

    return [read_cortex(path), read_transform(path / "transforms/grid")]


def make_flat(folder: Path) -> Path:
    from test_viewer import dataset

    class Folders:
        def mktemp(self, name: str) -> Path:
            return folder

    made: Path = dataset.__wrapped__(Folders())
    return made


def read_flat(path: Path) -> Any:
    from nsd_bench.cortex.flat_page import viewer_page

    return viewer_page(path, "train", n_records=3)


# imagery and the curated set


def make_index(folder: Path) -> Path:
    from nsd_bench.imagery.index import COLUMNS, write_index

    kinds: dict[str, Any] = {"string": "x", "int64": 3, "int32": 3, "bool": True, "float64": 0.5}
    table = pd.DataFrame({name: [kinds[kind]] * 5 for name, kind in COLUMNS.items()})
    write_index(folder / "subj01.parquet", table)
    return folder / "subj01.parquet"


def read_index(path: Path) -> Any:
    from nsd_bench.imagery.index import read_index

    return read_index(path)


def make_imagery_npy(folder: Path) -> Path:
    np.save(folder / "b.npy", BETAS)
    return folder / "b.npy"


def read_imagery_volume(path: Path) -> Any:
    from nsd_bench.imagery.volumes import read_volume_at

    return read_volume_at(path, 2)


def make_curated(folder: Path) -> Path:
    from test_decoding import make_set

    return make_set(folder / "set")


def read_curated(path: Path) -> Any:
    from nsd_bench.decoding import load_curated

    return load_curated(path, 3)


def make_metadata(folder: Path) -> Path:
    from imagery_trees import make_folders

    make_folders(folder)
    return folder


def read_metadata(folder: Path) -> Any:
    from exporters.imagery.cached import _read_trials

    return _read_trials(folder / "subj02", folder)


NPY_FILES = tuple(
    f"meta/{name}.npy"
    for name in (
        "trials/tiers",
        "trials/trial_idx",
        "neurons/unit_ids",
        "neurons/roi_visual",
        "neurons/animal_ids",
    )
)
CURATED = "sub-03"
READERS: dict[str, Reader] = {
    "package: arrays": Reader(
        make_folder, read_package, m.npy_like, (*NPY_FILES, "data/responses/0.npy"), optional=True, n=4
    ),
    "package: validated": Reader(
        make_folder,
        validated,
        m.npy_like,
        ("meta/trials/trial_idx.npy", "data/images/3.npy"),
        optional=True,
        n=4,
    ),
    "package: manifest, validated": Reader(
        make_folder, validated, m.json_like, ("manifest.json",), optional=True, n=4
    ),
    "package: statistics": Reader(
        make_folder, read_package, m.npy_like, ("meta/statistics/responses/all/std.npy",), n=3
    ),
    "package: JSON": Reader(
        make_folder, read_package, m.json_like, ("manifest.json", "meta/roi_names.json"), optional=True, n=8
    ),
    "package: zip": Reader(make_zip, read_package, m.zip_like),
    "package: packed": Reader(make_packed, read_package, m.json_like, ("data/responses/zarr.json",)),
    "lock": Reader(make_lock, read_lock, m.json_like),
    "truth": Reader(make_truth_file, read_truth, m.npz_like),
    "submission": Reader(make_submission, read_submission, m.npz_like),
    "submission, CSV": Reader(make_csv, read_csv, m.table_like, as_text=True),
    "scores.json": Reader(make_scores, read_scores, m.json_like, ("a.json",), n=10),
    "card": Reader(make_scores, read_scores, m.json_like, ("a.card.json",), as_text=True, n=3),
    "comparison": Reader(make_comparison, read_comparison, m.json_like),
    "ledger": Reader(make_ledger, read_ledger, m.json_lines, as_text=True, optional=True),
    "audit": Reader(make_audit, read_audit, m.json_like),
    "regime": Reader(
        written("r.json", '{"format": "x", "columns": [1.5]}'), read_regime, m.json_like, as_text=True
    ),
    "recipe": Reader(written("r.toml", a_recipe()), read_recipe, m.toml_like, as_text=True),
    "tiers": Reader(written("t.toml", some_tiers()), read_tiers, m.toml_like, as_text=True),
    "key": Reader(written("k.key", b"0123456789abcdef" * 3), read_key, m.everywhere, as_text=True),
    "model": Reader(make_model, read_model, m.json_like, ("m.json",)),
    "model: tensors": Reader(make_model, read_model, m.everywhere, ("m.safetensors",)),
    "model: tensors, signed": Reader(make_model, read_signed_model, m.everywhere, ("m.safetensors",), n=60),
    "weights": Reader(make_weights, read_network, m.zip_like, n=20),
    "feature store": Reader(make_store, read_store, m.json_like, ("features.json", "layers/conv.json")),
    "feature store: values": Reader(
        make_store, read_store, m.everywhere, ("layers/conv.float16",), as_text=True, optional=True
    ),
    "features of tiers": Reader(written("f.npy", m.npy(np.ones((9, 2)))), read_tier_features, m.npy_like),
    "features of targets": Reader(make_target_features, read_target_features, m.npz_like),
    "design of tiers": Reader(
        written("d.csv", "trial,session,nsd_id\n0,1,5\n1,1,6\n2,2,5\n"),
        read_design_table,
        m.table_like,
        as_text=True,
    ),
    "values to draw": Reader(make_values, read_values, m.npz_like),
    "mask": Reader(
        written("nsdgeneral.nii.gz", nifti(np.ones(SHAPE, dtype=np.int16))), read_volume, m.nifti_like
    ),
    "brain mask": Reader(
        written("brainmask.nii.gz", nifti(np.ones(SHAPE, dtype=np.int16))), read_brainmask, m.nifti_like
    ),
    "own mask": Reader(written("own.npy", m.npy(np.ones(SHAPE))), read_own_mask, m.npy_like),
    "betas, NIfTI": Reader(written("betas_session01.nii.gz", nifti(BETAS)), read_betas, m.nifti_like),
    "betas, HDF5": Reader(make_hdf5, read_betas, m.hdf5_like, n=60),
    "betas, MGH": Reader(make_mgh, read_mgh, m.mgh_like, ("lh.betas_session01.mgh",)),
    "transform": Reader(make_mgz, read_matching, m.mgh_like),
    "label names": Reader(
        written("prf-visualrois.mgz.ctab", "0 Unknown\n1 V1v\n2 V1d\n3 V2v\n"),
        read_ctab,
        m.everywhere,
        as_text=True,
        n=40,
    ),
    "FreeSurfer": Reader(
        make_freesurfer,
        read_freesurfer,
        m.everywhere,
        ("surf/lh.white", "surf/lh.curv", "surf/lh.patch"),
        n=40,
    ),
    "FreeSurfer's volumes": Reader(make_freesurfer, read_freesurfer, m.mgh_like, ("mri/T1.mgz",)),
    "COCO": Reader(
        make_coco,
        read_coco,
        m.json_like,
        ("instances_train2017.json", "captions_train2017.json"),
        n=25,
        called="COCO 2017",
    ),
    "surfaces": Reader(
        make_sheets, read_sheets, m.xml_like, ("surfaces/flat_lh.gii", "surfaces/inflated_rh.gii"), n=30
    ),
    "transform of pycortex": Reader(make_sheets, read_sheets, m.json_like, ("transforms/grid/matrices.xfm",)),
    "reference of pycortex": Reader(
        make_sheets, read_sheets, m.nifti_like, ("transforms/grid/reference.nii.gz",)
    ),
    "flat maps: manifest": Reader(
        make_flat, read_flat, m.json_like, ("manifest.json", "maps/subj02.geojson")
    ),
    "flat maps: maps": Reader(make_flat, read_flat, m.npz_like, ("maps/subj02.npz",)),
    "flat maps: records": Reader(make_flat, read_flat, m.parquet_like, ("train/part.parquet",)),
    "imagery index": Reader(make_index, read_index, m.parquet_like, n=40),
    "imagery betas": Reader(make_imagery_npy, read_imagery_volume, m.npy_like),
    "imagery betas, NIfTI": Reader(written("b.nii.gz", nifti(BETAS)), read_imagery_volume, m.nifti_like),
    "imagery betas, HDF5": Reader(make_hdf5, read_imagery_volume, m.hdf5_like),
    "imagery metadata": Reader(make_metadata, read_metadata, m.json_like, ("subj02/metadata.json",)),
    "curated: arrays": Reader(
        make_curated, read_curated, m.npy_like, (f"{CURATED}_labels.npy", f"{CURATED}_runs.npy")
    ),
    "curated: volumes": Reader(
        make_curated, read_curated, m.nifti_like, (f"{CURATED}.nii.gz", f"{CURATED}_mask.nii.gz")
    ),
    "curated: trials": Reader(
        make_curated, read_curated, m.table_like, (f"{CURATED}_trials.tsv",), as_text=True, optional=True
    ),
}


# -- the harness ------------------------------------------------------------------------------------------


def places(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """What can lie under a file's name that is no file."""
    yield "a folder", path.mkdir
    yield "a pipe", lambda: os.mkfifo(path)
    yield "a dangling link", lambda: path.symlink_to("nowhere")
    yield "a looping link", lambda: path.symlink_to(path.name)
    yield "a device without end", lambda: path.symlink_to("/dev/zero")
    yield "a device of nothing", lambda: path.symlink_to("/dev/null")
    if os.geteuid():

        def locked() -> None:
            path.write_bytes(b"secret")
            path.chmod(0)

        yield "a file without permission", locked


def cleared(path: Path) -> Path:
    """Make room at a path: files that are mapped stay as they are."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def forget_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


class Attempt:
    """One input: read it, and say what is wrong with how that went."""

    def __init__(self, reader: Reader, root: Path, target: Path) -> None:
        self.reader, self.root, self.target = reader, root, target
        self.expected = frozen(reader.read(root))

    def problem(self, *, must_fail: bool, large: bool = False) -> str | None:
        rescued = threading.Event()
        rescue = threading.Timer(5, self._rescue, [rescued])
        if self.target.is_fifo():
            rescue.start()
        before, started = forget_peak() if large else peak_bytes(), time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they stop the tests, and not the user
                found = self.reader.read(self.root)
        except NsdBenchError as error:
            text = str(error)
            names = [self.target.name, self.root.name, *filter(None, [self.reader.called])]
            if not any(name in text for name in names):
                return f"names no file: {text}"
            if not text.replace("\n", "").isprintable():
                return f"shows what a terminal would obey: {text!r}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]} at {_place_of(error)}"
        else:
            if must_fail and frozen(found) != self.expected:
                return "was read in silence"
        finally:
            rescue.cancel()
        if rescued.is_set():
            return "waits for ever"
        if time.process_time() - started > MOST_SECONDS:
            return f"takes {time.process_time() - started:.1f} s"
        if peak_bytes() - before > MOST_BYTES:
            return f"takes {(peak_bytes() - before) / 1e6:.0f} MB"
        return None

    def _rescue(self, rescued: threading.Event) -> None:
        """End the wait of a reader that has opened a pipe."""
        if self.target.is_fifo():
            try:
                os.close(os.open(self.target, os.O_WRONLY | os.O_NONBLOCK))
                rescued.set()
            except OSError:  # nobody waits
                return


def _place_of(error: BaseException) -> str:
    frames = []
    trace = error.__traceback__
    while trace:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(frames[::-1][:4])


def mutated(reader: Reader, good: bytes, seed: str, scale: int) -> m.Mutated:
    rng = random.Random(seed)
    yield from m.everywhere(good, rng, reader.n * scale)
    if reader.mutate is not m.everywhere:
        yield from reader.mutate(good, rng, reader.n * scale)


def problems(name: str, folder: Path, scale: int) -> tuple[list[str], int]:
    """Try all inputs of a reader; return what went wrong, and how many there were."""
    reader = READERS[name]
    root = reader.make(folder)
    found, n_inputs = [], 0
    for file in reader.files:
        target = root / file if file else root
        good = target.read_bytes()
        attempt = Attempt(reader, root, target)
        for what, content in mutated(reader, good, f"{name} {file}", scale):
            cleared(target).write_bytes(content)
            sure = what.startswith(("empty", "cut", "other")) and not reader.as_text
            problem = attempt.problem(must_fail=sure, large=any(word in what for word in LARGE))
            found += [f"{name}, {file}: {what}: {problem}"] if problem else []
            n_inputs += 1
        for what, put in places(target):
            cleared(target)
            put()
            problem = attempt.problem(must_fail=not (reader.optional or reader.as_text))
            found += [f"{name}, {file}: {what}: {problem}"] if problem else []
            n_inputs += 1
        cleared(target).write_bytes(good)
    return found, n_inputs


@pytest.fixture(autouse=True, scope="module")
def bounds(tmp_path_factory) -> Iterator[None]:
    """Keep a reader that swells from taking the machine with it; give those who need one a package."""
    from nsd_bench.package.read import Package

    PACKAGE[:] = [Package(tiny.make_package(tmp_path_factory.mktemp("package")))]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 30), hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_infinities_of_float16_are_named():
    """The largest that may be predicted is infinity itself in float16."""
    submission = a_submission()
    values = submission.predictions.astype(np.float16)
    values[3, 1] = np.inf
    odd = dataclasses.replace(submission, predictions=values)
    from nsd_bench.scoring import ScoreOptions, score_subject

    with pytest.raises(NsdBenchError, match="predictions: 1 are NaN or infinite"):
        score_subject(odd, a_truth(), ScoreOptions(n_draws=0))


def test_dollars_in_names_are_dollars():
    from nsd_bench.figures import confusion_figure

    picture = confusion_figure(["$x^{$", "<!--<script>"], np.array([[3, 1], [1, 3]]))
    assert "$x^{$" in picture
    assert "&lt;!--&lt;script&gt;" in picture


@pytest.mark.parametrize("words", [("validate",), ("info",), ("score", "x"), ("tiers", "show"), ("flatmap",)])
@pytest.mark.parametrize("name", ["x" * 300, "x\x1b[2J", "\udcff", "loop"])
def test_odd_names_end_in_an_error_of_ours(words, name, tmp_path, monkeypatch, capfd):
    from nsd_bench.cli import main

    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nsd-bench", *words, name])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capfd.readouterr().err
    assert ended.value.code in (1, 2), said
    assert "Traceback" not in said
    assert ended.value.code == 2 or "\x1b" not in said


@pytest.mark.parametrize("name", READERS)
def test_hostile_files(name, tmp_path):
    found, n_inputs = problems(name, tmp_path, SCALE)
    sys.stdout.write(f"{n_inputs} inputs\n")
    assert not found, "\n".join(found)

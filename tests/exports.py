"""Exports of the simulated NSD, as their tests make them."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from exporters.packages.export import export_packages
from exporters.packages.recipe import Recipe, load_recipe
from nsd_bench.errors import NsdBenchError
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth

KEY = b"a secret of the tests"
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
DATA = "nsddata/ppdata/subj01"
BESIDE = (".truth.npz", ".lock.json", ".design.csv")


def recipe(**changes) -> Recipe:
    """The demo recipe for subject 1, open and unscaled unless a test says otherwise."""
    wanted = load_recipe("demo", subjects=(1,), kind=changes.pop("kind", "open"))
    sections = {
        name: getattr(wanted, name).model_copy(update=changes.pop(name, {}))
        for name in ("responses", "units", "images", "behavior")
    }
    sections["responses"] = sections["responses"].model_copy(
        update={"scale": changes.pop("scale", "percent")}
    )
    return wanted.model_copy(update={**sections, **changes})


def export(root: Path, out: Path, **changes) -> Package:
    (made,) = export_packages(recipe(**changes), root, out, progress=False)
    return Package(made.path)


def true_trials(package: Package, key: bytes | None = None) -> np.ndarray:
    """True trial number of every file of a package that withholds, as its owner finds them."""
    if key is None:
        responses = Truth.read(f"{package.path}.truth.npz").responses
        rows = sorted(hashlib.sha256(row.tobytes()).digest() for row in responses)
        key = hashlib.sha256(b"\0".join([package.name.encode(), *rows])).digest()
    key, number_of = hmac.digest(key, package.kind.encode(), "sha256"), {}
    for trial in range(750 * max(package.manifest["sessions"])):
        name = f"{package.name}:{package.subject}:trial:{trial}".encode()
        number_of[hmac.digest(key, name, "sha256").hex()[:32]] = trial
    return np.array([number_of[one] for one in package.trials["trial_idx"]])


def nifti(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def fails(root: Path, out: Path, kind: type[NsdBenchError], **changes) -> str:
    """Export, expect an error, check that nothing is left; return its text with paths cut to NSD/."""
    with pytest.raises(kind) as caught:
        export(root, out, **changes)
    assert not out.exists() or list(out.iterdir()) == []
    return str(caught.value).replace(str(root), "NSD")


def replace(path: Path, data: bytes) -> None:
    path.unlink()  # a link to the tree that other tests read
    path.write_bytes(data)

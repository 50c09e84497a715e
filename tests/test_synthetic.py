"""Companions of a package, from simulated files to scores: tier ood, and the imagery session."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import Ridge

from exporters.nsd.synthetic import SyntheticLayout, iterate_synthetic, read_classes, synthetic_trials
from exporters.packages.companions import export_imagery, export_synthetic
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
from exporters.simulate import read_answer, simulate
from exporters.simulate.formats import write_mat
from nsd_bench.cli.transfer import transfer_command as command
from nsd_bench.errors import OutputError, PackageError, SourceError, SubmissionError
from nsd_bench.imagery.reliability import pooled_ncsnr
from nsd_bench.models.image_features import pixel_features
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import load_truth
from nsd_bench.package.validate import validate
from nsd_bench.scoring.score import ScoreOptions, score_subject
from nsd_bench.transfer import TransferOptions
from nsd_bench.transfer.companions import evaluate_companion, predict_companion, tier_truth
from nsd_bench.transfer.decoders import PENALTIES, fit_ridge, training_data
from nsd_bench.transfer.ood import evaluate_ood
from nsd_bench.transfer.session import evaluate_on_companion
from nsd_bench.transfer.targets import ImageFeatures

GAIN = 0.5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a simulated root, a core package and its two companions."""
    folder = tmp_path_factory.mktemp("regimes")
    root, out = folder / "nsd", folder / "packages"
    simulate(
        root,
        subjects=(2,),
        sessions=1,
        shape=(10, 12, 9),
        seed=5,
        imagery_gain=GAIN,
        synthetic=True,
        progress=False,
    )
    recipe = load_recipe("demo", subjects=(2,), kind="open", images={"height": 16, "width": 20})
    (core,) = export_packages(recipe, root, out, progress=False)
    package = Package(core.path)
    imagery, ood = export_imagery(package, root, out), export_synthetic(package, root, out)
    return root, package, Package(imagery), Package(ood)


def answer(root, name: str) -> dict:
    with np.load(root.with_name("nsd.answer") / f"subj02.{name}.npz") as file:
        return dict(file)


def test_simulated_brains_are_those_of_the_core_sessions(made):
    core = read_answer(made[0], 2)
    for name, n in (("imagery", 18), ("synthetic", 284)):
        more = answer(made[0], name)
        np.testing.assert_array_equal(more["unit_ids"], core.unit_ids)
        np.testing.assert_array_equal(more["ncsnr"], core.ncsnr)
        assert more["signals"].shape == (n, len(core.unit_ids))


def test_trials_have_the_true_repeat_pattern(made):
    trials = synthetic_trials(SyntheticLayout(made[0]).design)
    repeats = np.unique(trials["image"], return_counts=True)[1]
    assert dict(zip(*np.unique(repeats, return_counts=True), strict=True)) == {2: 236, 4: 32, 8: 8, 10: 8}
    assert len(trials) == 744 and trials["run"].value_counts().unique().tolist() == [93]
    assert (trials.groupby("image")["repeat"].max() + 1).tolist() == repeats.tolist()
    classes = read_classes(SyntheticLayout(made[0]).classes)
    assert len(classes) == 284 and len(set(classes)) == 8
    assert set(classes[104:216]) == {"Spiral gratings"}


def test_luminance_is_converted(made):
    layout = SyntheticLayout(made[0])
    with h5py.File(layout.stimuli) as file:
        stored = file["imgBrick"][30]
    images = dict(iterate_synthetic(layout, 2))
    assert len(images) == 284
    root = np.sqrt(stored / 255.0) * 255
    assert (images[30] <= root).all() and (images[30] > root - 1).all()  # cut off, as the authors do
    assert not np.array_equal(images[30], stored)


def test_broken_synthetic_files_are_refused(made, tmp_path):
    path = tmp_path / "nsdsynthetic_expdesign.mat"
    write_mat(path, {"masterordering": np.arange(1.0, 745)[None]})
    with pytest.raises(
        SourceError, match=r"'masterordering' holds 285 at \(0, 284\); whole numbers from 1 to 284"
    ):
        synthetic_trials(path)
    path.write_bytes(b"no")
    with pytest.raises(SourceError, match="cannot be read"):
        synthetic_trials(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceError) as raised:
        read_classes(path)
    assert str(raised.value) == (
        f"{path}: lacks the column Image class (number); it has a, b.\n"
        "  Expected: a table with the columns Image class (number).\n"
        "  What to do: fetch nsddata/experiments/nsdsynthetic and nsddata_stimuli/stimuli/nsdsynthetic again."
    )
    path.write_text("a, image CLASS \n1, words \n2,\n")
    with pytest.raises(SourceError, match="names the class of 1 images in 2 rows"):
        read_classes(path)
    path.write_text("a, image CLASS \n" + "1, words \n" * 284)
    assert read_classes(path) == ["words"] * 284
    path.write_text("Image,Image class (number)\n" + "word4_pos1_1, Single words (6)\n" * 284)
    assert read_classes(path) == ["Single words"] * 284
    path.write_text("Image class,Image class (number)\n" + "words,Single words (6)\n" * 284)
    with pytest.raises(SourceError, match="has more than once the column Image class"):
        read_classes(path)
    write_mat(path, {"masterordering": np.array([["a"]], dtype=object)})
    with pytest.raises(SourceError, match="'masterordering' is object"):
        synthetic_trials(path)


def test_a_companion_has_no_companion(made, tmp_path):
    root, core, imagery, _ = made
    with pytest.raises(PackageError) as caught:
        export_synthetic(imagery, root, tmp_path)
    assert str(caught.value) == (
        f"{imagery.path}: is a companion itself.\n"
        f"  Expected: a core package, such as {core.name}.\n"
        "  What to do: give the package that it is a companion of."
    )
    assert not list(tmp_path.iterdir())


def test_companions_have_the_units_and_statistics_of_the_core(made):
    _, core, imagery, ood = made
    for companion, tiers in ((imagery, {"vision": 96, "imagery": 192}), (ood, {"ood": 744})):
        assert companion.units["unit_ids"].tolist() == core.units["unit_ids"].tolist()
        assert companion.roi_names == core.roi_names and companion.image_shape == core.image_shape == (
            3,
            16,
            20,
        )
        for name in ("mean", "std"):
            np.testing.assert_array_equal(
                companion.statistic("responses", name), core.statistic("responses", name)
            )
        assert companion.manifest["n_trials"] == tiers
        assert companion.manifest["companion_of"] == {
            "name": core.name,
            "manifest_sha256": core.manifest_sha256,
        }
        assert companion.fit_on == {"package": core.name, "tier": "train", "trial_idx": []}
        assert companion.behavior([0]).tolist() == [[-1, -1]]


def test_companions_hold_the_responses_of_their_session(made):
    root, _, imagery, ood = made
    for companion, name in ((imagery, "nsdimagery"), (ood, "nsdsynthetic")):
        folder = f"nsddata_betas/ppdata/subj02/func1pt8mm/{name}betas_fithrf_GLMdenoise_RR"
        with h5py.File(root / folder / f"betas_{name}.hdf5") as file:
            betas = file["betas"][:].transpose(0, 3, 2, 1)
        flat = betas.reshape(len(betas), -1)[:, companion.units["unit_ids"]] / 300
        fitted = flat
        if companion is imagery:
            fitted = flat[np.r_[0:48, 192:240, 384:432]]
        expected = (flat - fitted.mean(axis=0)) / fitted.std(axis=0, ddof=1)
        rows = companion.trials["trial_idx"].to_numpy()
        found = companion.responses(np.arange(companion.n_trials))
        np.testing.assert_allclose(found, expected[rows], rtol=1e-5, atol=1e-6)


SESSIONS = {"nsdimagery": 720, "nsdsynthetic": 744}
BETAS = "nsddata_betas/ppdata/subj02/{}/{}betas_fithrf_GLMdenoise_RR"


def mgh(path: Path) -> np.ndarray:
    """Read an .mgh or .mgz file, shape (n_vertices, n_frames)."""
    data = path.read_bytes()
    image = nib.MGHImage.from_bytes(gzip.decompress(data) if path.suffix == ".mgz" else data)
    return np.asarray(image.dataobj)[:, 0, 0].reshape(image.shape[0], -1)


def on_fsaverage(root: Path) -> dict[str, np.ndarray]:
    """Read what the simulator wrote, in percent: session to (n_vertices, n_trials)."""
    return {
        name: np.concatenate(
            [
                mgh(root / BETAS.format("fsaverage", name) / f"{side}.betas_{name}.mgh")
                for side in ("lh", "rh")
            ]
        )
        for name in SESSIONS
    }


def on_native_surface(root: Path) -> dict[str, np.ndarray]:
    """Write betas on the subject's own surfaces, which the simulator does not, and return them."""
    rng = np.random.default_rng(7)
    found: dict[str, list[np.ndarray]] = {name: [] for name in SESSIONS}
    for side in ("lh", "rh"):
        n = len(mgh(root / f"nsddata/freesurfer/subj02/label/{side}.nsdgeneral.mgz"))
        for name, n_trials in {"": 750, **SESSIONS}.items():
            folder = root / BETAS.format("nativesurface", name)
            folder.mkdir(parents=True, exist_ok=True)
            betas = rng.integers(-900, 900, (n, n_trials), dtype=np.int16)
            with h5py.File(folder / f"{side}.betas_{name or 'session01'}.hdf5", "w") as file:
                file.create_dataset("betas", data=betas.T, chunks=(n_trials, 1))
            if name:
                found[name].append(betas / 300)
        ncsnr = nib.MGHImage(np.ones((n, 1, 1), np.float32), np.eye(4))
        ncsnr.to_filename(root / BETAS.format("nativesurface", "") / f"{side}.ncsnr.mgh")
    return {name: np.concatenate(sides) for name, sides in found.items()}


@pytest.mark.parametrize(
    ("space", "values"), [("fsaverage", on_fsaverage), ("nativesurface", on_native_surface)]
)
def test_companions_lie_on_the_surface_of_their_core(made, tmp_path, space, values):
    root = tmp_path / "nsd"
    shutil.copytree(made[0], root, copy_function=lambda source, target: Path(target).hardlink_to(source))
    expected = values(root)
    responses = {"space": space, "format": None, "scale": "percent"}
    recipe = load_recipe(
        "demo", subjects=(2,), kind="open", images={"height": 8, "width": 9}, responses=responses
    )
    (written,) = export_packages(recipe, root, tmp_path, progress=False)
    core = Package(written.path)
    for name, export in {"nsdimagery": export_imagery, "nsdsynthetic": export_synthetic}.items():
        companion = Package(export(core, root, tmp_path))
        units = companion.units["unit_ids"].to_numpy()
        assert units.tolist() == core.units["unit_ids"].tolist() and len(units) > 20
        assert set(companion.units["layer"]) == {"lh", "rh"}
        rows = companion.trials["trial_idx"].to_numpy()
        found = companion.responses(np.arange(companion.n_trials))
        np.testing.assert_array_equal(found, expected[name][np.ix_(units, rows)].T.astype(np.float32))
        assert validate(companion.path) == []


def test_a_vertex_has_the_betas_of_its_voxel_in_every_session(made):
    root = made[0]
    core = np.concatenate(
        [mgh(root / BETAS.format("fsaverage", "") / f"{side}.betas_session01.mgh") for side in ("lh", "rh")]
    )
    known = ~np.isnan(core).any(axis=1)
    assert 0 < (~known).sum() < 20
    with h5py.File(root / BETAS.format("func1pt8mm", "") / "betas_session01.hdf5") as file:
        volume = file["betas"][:].reshape(750, -1).T
    voxel_of = {row.tobytes(): number for number, row in enumerate(volume)}
    voxels = [voxel_of[row.tobytes()] for row in np.rint(core[known] * 300).astype("<i2")]
    for name, surface in on_fsaverage(root).items():
        with h5py.File(root / BETAS.format("func1pt8mm", name) / f"betas_{name}.hdf5") as file:
            betas = file["betas"][:].reshape(SESSIONS[name], -1).T
        np.testing.assert_array_equal(surface[known], betas[voxels].astype(np.float32) / 300)
        assert np.isnan(surface[~known]).all()


def test_images_of_imagery_trials_are_the_cued_ones(made):
    _, core, imagery, _ = made
    trials = imagery.trials
    assert set(trials["nsd_id"]) == {-1, 28751, 30856, 53881, 61177, 65872}
    assert set(trials.loc[trials["nsd_id"] < 0, "frame_image_id"]) == {*range(73_000, 73_006), 73_011}
    for _, rows in trials.groupby("frame_image_id").indices.items():
        images = imagery.images(rows)
        assert len(rows) == 24 and (images == images[0]).all()
    assert (trials.groupby(["tiers", "frame_image_id"])["repeat"].max() + 1).groupby("tiers").unique().map(
        list
    ).to_dict() == {"imagery": [16], "vision": [8]}
    seen = core.trials["nsd_id"].isin(trials["nsd_id"])
    assert not seen.any() or np.array_equal(core.images([int(np.flatnonzero(seen)[0])])[0].shape, (3, 16, 20))


def test_ceilings_come_from_the_sessions_own_repeats(made):
    root, _, imagery, ood = made
    for companion, tier, name in ((imagery, "vision", "imagery"), (ood, "ood", "synthetic")):
        truth = tier_truth(companion, tier)
        expected = pooled_ncsnr(truth.responses, truth.frame_image_id)
        np.testing.assert_allclose(truth.ncsnr, expected, rtol=1e-3, atol=1e-4)
        true = answer(root, name)
        place = np.searchsorted(true["unit_ids"], truth.unit_ids)
        # Simulated ncsnr hold over photographs; artificial images drive the same voxels in the same order.
        assert np.corrcoef(truth.ncsnr, true["ncsnr"][place])[0, 1] > 0.4


def test_existing_companions_and_missing_files_are_refused(made, tmp_path):
    root, core, imagery, _ = made
    with pytest.raises(OutputError, match="exists already"):
        export_imagery(core, root, imagery.path.parent)
    with pytest.raises(SourceError, match="nsdsynthetic_expdesign"):
        export_synthetic(core, tmp_path, tmp_path / "out")
    with pytest.raises(PackageError, match="there is no tier 'ood'"):
        tier_truth(imagery, "ood")


def oracle(root, companion: Package, name: str) -> Submission:
    """Predict the noiseless signal of every trial, in standard deviations of the responses."""
    true = answer(root, name)
    columns = np.searchsorted(true["unit_ids"], companion.units["unit_ids"])
    image = companion.trials["frame_image_id"].to_numpy()
    nsd_ids = {28751: 6, 30856: 7, 53881: 8, 61177: 9, 65872: 10}
    row = [nsd_ids.get(one, one - (73_000 if name == "imagery" else 74_000)) for one in image.tolist()]
    s = true["ncsnr"][columns]
    predictions = true["signals"][row][:, columns] * s / np.sqrt(1 + s**2)
    return Submission(
        trial_idx=companion.trials["trial_idx"].to_numpy(),
        unit_ids=companion.units["unit_ids"].to_numpy(np.int64),
        predictions=predictions.astype(np.float32),
        card={"package": companion.name, "model": "oracle"},
    )


def test_the_gains_interval_contains_the_stated_gain(made):
    root, _, imagery, _ = made
    metrics = evaluate_companion(oracle(root, imagery, "imagery"), imagery).metrics
    low, high = metrics["transfer"]["ratio"]["interval"]
    assert low <= GAIN <= high and high - low < 0.2
    gap = metrics["transfer"]["gap"]
    slope = metrics["conditions"]["perception"]["slope"]["value"]
    assert gap["interval"][0] <= (GAIN - 1) * slope <= gap["interval"][1]
    for found in metrics["conditions"].values():
        assert found["null"]["p_value"] < 0.001
        assert found["correlation"]["value"] > found["oracle"]["correlation"] > 0


def test_ood_is_scored_by_class_beside_the_score_on_photographs(made):
    root, core, _, ood = made
    options = ScoreOptions(n_draws=20)
    truth = load_truth(core.path)
    known = read_answer(root, 2)
    columns = np.searchsorted(known.unit_ids, truth.unit_ids)
    rows = np.searchsorted(known.nsd_ids, truth.frame_image_id)
    card = {"package": core.name, "model": "oracle"}
    given = Submission(truth.trial_idx, truth.unit_ids, known.signals[rows][:, columns], card)
    in_distribution = score_subject(given, truth, options, tiers=("test",))
    found = evaluate_ood(oracle(root, ood, "synthetic"), ood, in_distribution, options)
    assert found["repeats"] == {"2": 236, "4": 32, "8": 8, "10": 8}
    assert len(found["classes"]) == 8
    assert sum(one["n_images"] for one in found["classes"].values()) == 284
    assert sum(one["n_trials"] for one in found["classes"].values()) == 744
    assert found["ood"]["value"] == pytest.approx(1, abs=0.1)
    assert found["drop"]["value"] == pytest.approx(found["ood"]["value"] - found["in_distribution"]["value"])
    low, high = found["drop"]["interval"]
    assert low < found["drop"]["value"] < high
    alone = evaluate_ood(oracle(root, ood, "synthetic"), ood, None, options)
    assert alone["drop"] == {
        "value": None,
        "interval": None,
        "reason": "one of the two scores is missing",
    }
    assert alone["ood"] == found["ood"]
    images = np.unique(ood.trials["frame_image_id"])
    assert list(alone["ood"]["without"]) == [str(image) for image in images]
    for one in alone["classes"].values():
        assert len(one["without"]) == one["n_images"]


class Grey:
    """Predicts every unit by the mean of the image."""

    def __init__(self, package: Package) -> None:
        self.unit_ids, self.card = package.units["unit_ids"].to_numpy(), {"model": "grey"}
        self.n_images = 0

    def predict(self, images):
        self.n_images += len(images)
        return np.repeat(images.reshape(len(images), -1).mean(axis=1)[:, None], len(self.unit_ids), axis=1)


def test_models_predict_every_distinct_image_once(made):
    _, core, imagery, _ = made
    model = Grey(core)
    submission = predict_companion(model, imagery)
    assert model.n_images == 12 and submission.card["package"] == imagery.name
    expected = imagery.images(np.arange(288)).reshape(288, -1).mean(axis=1)
    np.testing.assert_allclose(submission.predictions[:, 3], expected, rtol=1e-6)
    model.unit_ids = model.unit_ids[1:]
    with pytest.raises(SubmissionError, match="the model has"):
        predict_companion(model, imagery)
    part = Submission(submission.trial_idx[1:], submission.unit_ids, submission.predictions[1:], {})
    with pytest.raises(SubmissionError, match="trial_idx: 1 of 288 missing: 0"):
        evaluate_companion(part, imagery, TransferOptions(n_draws=2))
    card = {"package": "demo-subj01-synthetic"}
    other = Submission(submission.trial_idx, submission.unit_ids, submission.predictions, card)
    with pytest.raises(SubmissionError) as caught:
        evaluate_companion(other, imagery)
    assert str(caught.value).startswith(
        "submission for 'demo-subj01-synthetic': is for package 'demo-subj01-synthetic'.\n"
        f"  Expected: predictions of {imagery.name!r}.\n"
    )


def test_a_decoder_is_not_fitted_to_a_companion(made):
    _, _, imagery, _ = made
    with pytest.raises(PackageError) as caught:
        training_data(imagery, ImageFeatures(pixel_features, "pixels"))
    assert str(caught.value) == (
        f"{imagery.path}: has 0 training trials and 0 validation trials.\n"
        "  Expected: a core package, with both tiers.\n"
        "  What to do: give the package itself, not a companion of it."
    )


def test_a_ridge_decoder_of_the_core_decodes_the_imagery_session(made):
    _, core, imagery, _ = made
    source = ImageFeatures(pixel_features, "pixels")
    decoder = fit_ridge(training_data(core, source))
    assert decoder.penalty in PENALTIES
    x = core.standardised_responses(core.rows("train")).astype(np.float64)
    features = pixel_features(core.images(core.rows("train")))
    y = (features - decoder.feature_mean) / decoder.feature_std
    reference = Ridge(alpha=decoder.penalty, fit_intercept=False).fit(x - x.mean(axis=0), y)
    np.testing.assert_allclose(decoder.weight, reference.coef_.T, rtol=1e-4, atol=1e-6)
    found = evaluate_on_companion(decoder, imagery, source, options=TransferOptions(n_draws=20)).metrics
    assert found["n_targets"] == 12 and found["transfer"]["n_pairs"] == 12
    seen = found["conditions"]["perception"]
    # One session of bars and twelve photographs does not reach significance with every seed.
    assert seen["clip_cosine"]["value"] > seen["null"]["mean"] + 0.05
    transfer = found["transfer"]
    within, cross = transfer["within_domain"]["value"], transfer["cross_domain"]["value"]
    assert within == pytest.approx(seen["clip_cosine"]["value"])
    assert transfer["gap"]["value"] == pytest.approx(cross - within)


def test_commands_lead_from_packages_to_all_regimes(made, tmp_path):
    root, core, imagery, ood = made
    run = CliRunner().invoke

    def path(name: str) -> str:
        return str(tmp_path / name)

    exported = run(
        command,
        ["export", str(core.path), "--nsd-root", str(root), "--out", path("c"), "--session", "imagery"],
    )
    assert exported.exit_code == 0 and "288 trials" in exported.output
    assert (tmp_path / "c" / f"{core.name}-imagery.lock.json").read_bytes() == (
        imagery.path.parent / f"{core.name}-imagery.lock.json"
    ).read_bytes()
    oracle(root, imagery, "imagery").write(path("i.npz"))
    oracle(root, ood, "synthetic").write(path("o.npz"))
    few = ["--draws", "20"]
    encoded = run(
        command,
        ["encode", path("i.npz"), "--package", str(imagery.path), "--output-dir", path("enc"), *few],
    )
    assert encoded.exit_code == 0 and "ratio: 0." in encoded.output
    scored = run(command, ["ood", path("o.npz"), "--package", str(ood.path), "--out", path("o.json")])
    assert scored.exit_code == 0 and "drop: missing" in scored.output
    result = run(
        command,
        [
            *("regimes", "--ood", path("o.json"), "--imagery", path("enc/metrics.json")),
            *("--model", "oracle", "--out", path("all.json")),
        ],
    )
    assert result.exit_code == 0 and "held_out_subject" in result.output
    regimes = json.loads((tmp_path / "all.json").read_text())["regimes"]
    assert regimes["ood"]["available"] and not regimes["in_distribution"]["available"]
    columns = {one["name"]: one["value"] for one in regimes["ood"]["columns"]}
    assert columns["drop"] is None and columns["ood"] > 0.8 and len(columns) == 10
    again = run(command, ["regimes", "--ood", path("o.json"), "--out", path("all.json")])
    assert isinstance(again.exception, OutputError)


def test_the_example_of_the_page_on_scores_runs_as_written(made, tmp_path, monkeypatch):
    core = made[1]
    page = (Path(__file__).parents[1] / "docs" / "scoring.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "packages/demo-subj01" in example
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        exec(compile(example.replace("packages/demo-subj01", str(core.path)), "scoring.md", "exec"), {})
    given = Submission.read("mine.submission.npz")
    found = score_subject(given, load_truth(core.path), ScoreOptions(n_draws=2)).to_json()["tiers"]
    assert list(found) == ["test"] and given.card["model"] == "blurred pixels"
    assert found["test"]["rois"][0]["scores"]["signed_ratio"]["value"] > 0.05

"""The audit finds every fault of a package that has them all, and none in one that has none."""

from __future__ import annotations

import hashlib
import hmac
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nsd_bench.cli.tiers import tiers_command as command
from nsd_bench.errors import PackageError, TierError
from nsd_bench.outputs import array_to_bytes
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.sealing import inverted
from nsd_bench.package.statistics import column_statistics, ncsnr_on, pixel_statistics
from nsd_bench.package.write import new_package
from tiers.audit.audit import audit, audit_page
from tiers.audit.leakage import CHECKS, Thresholds
from tiers.audit.similarity import descriptor, nearest

N_UNITS = 3
TIERS = np.repeat(["train", "validation", "test", "final_test"], [14, 2, 6, 4])
KEYS = ("behavior", "images", "responses")
IMAGE = np.r_[np.arange(14) // 2, [20, 20], [30, 30, 31, 31, 32, 32], [40, 40, 41, 41]]


def photograph(seed: int, side: int = 40) -> np.ndarray:
    """A colourful image of shape (3, side, side + 8)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    smooth = Image.fromarray(pixels).resize((side + 8, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(smooth).transpose(2, 0, 1))


def make(parent, *, kind="open", tiers=TIERS, ids=None, images=None, fit_rows=None, zscore=None, **more):
    """A clean package, apart from what is replaced; `more` are `name`, `manifest`, `whole` betas, `files`."""
    rows, name = np.arange(len(tiers)), more.get("name", "p")
    train = np.flatnonzero(tiers == "train")
    fit_rows = train if fit_rows is None else fit_rows
    pictures = {image: photograph(image) for image in np.unique(IMAGE).tolist()} | (images or {})
    shown = [more.get("files", {}).get(row, pictures[int(IMAGE[row])]) for row in rows]
    rng = np.random.default_rng(1)
    responses = rng.normal(2, np.where(tiers == "train", 1, 3)[:, None], (len(tiers), N_UNITS))
    responses = (np.rint(responses * 300) / 300 if more.get("whole") else responses).astype(np.float32)
    spread = np.where(tiers == "train", 50, 90)[:, None] * (kind != "track1")
    behavior = rng.normal(600 * (kind != "track1"), spread, (len(tiers), 2)).astype(np.float32)
    session = np.where(rows % 2, 2, 1)
    removed = np.zeros((2, 2, N_UNITS))
    if zscore is not None:
        for number in (1, 2):
            here = session == number
            betas = responses[here].astype(np.float64)
            fitted = betas[zscore[here]]
            removed[:, number - 1] = fitted.mean(axis=0), fitted.std(axis=0, ddof=1)
            responses[here] = (betas - removed[0, number - 1]) / removed[1, number - 1]
    withheld = (kind != "open") & np.isin(tiers, spec.WITHHELD_TIERS)
    ids = rows * 400 if ids is None else ids
    image_ids = IMAGE if kind == "open" else np.unique(IMAGE, return_inverse=True)[1]
    columns = {"tiers": tiers, "trial_idx": ids, "frame_image_id": image_ids}
    columns["frame_image_class"] = np.full(len(tiers), "none")
    if kind == "open":
        columns |= {"session": session, "nsd_id": IMAGE}
    with new_package(parent, name, ("folder",)) as writer:
        for row in rows:
            writer.add_array(spec.data_file("images", row), shown[row])
            writer.add_array(spec.data_file("responses", row), responses[row] * np.float32(not withheld[row]))
            writer.add_array(spec.data_file("behavior", row), behavior[row] * np.float32(not withheld[row]))
        for column, values in columns.items():
            writer.add_array(spec.trials_file(column), values)
        for column in ("unit_ids", "animal_ids", "sessions", "scan_idx"):
            writer.add_array(spec.neurons_file(column), np.arange(N_UNITS))
        histogram = sum(np.bincount(shown[row].ravel(), minlength=256) for row in fit_rows)
        for group in spec.STATISTICS_GROUPS:
            for key, fitted in (
                ("images", pixel_statistics(histogram)),
                ("responses", column_statistics(responses, fit_rows)),
                ("behavior", column_statistics(behavior, fit_rows)),
            ):
                for statistic, values in fitted.items():
                    writer.add_array(spec.statistics_file(key, group, statistic), values)
        writer.add_json(spec.FIT_ON, {"tier": "train", "trial_idx": np.asarray(ids)[fit_rows].tolist()})
        if zscore is not None and kind == "open":
            for column, values in zip(("mean", "std"), removed, strict=True):
                writer.add_array(spec.normalization_file(column), values)
            writer.add_array(spec.normalization_file("sessions"), np.array([1, 2]))
        scale = "percent" if zscore is None else "session_zscore"
        recipe = {"values": {"responses": {"scale": scale}} | more.get("manifest", {})}
        told = {"name": name, "kind": kind, "sessions": [1, 2], "recipe": recipe}
        told |= {} if kind == "open" else {"sealing": {"file_order": "key"}}
        writer.finish(told | {"tiers": {"name": "hand", "title": "T"}})
    return parent / name


def keyed_ids() -> np.ndarray:
    return np.array([hashlib.sha256(b"key %d" % number).hexdigest()[:32] for number in range(len(TIERS))])


def problems(path, **options) -> list[str]:
    return [f"{issue.level}: {issue.place}: {issue.problem}" for issue in audit(path, **options).issues]


@pytest.mark.parametrize("kind", ["open", "track1"])
def test_nothing_is_found_in_a_clean_package(tmp_path, kind):
    ids = None if kind == "open" else keyed_ids()
    assert problems(make(tmp_path, kind=kind, ids=ids)) == []


def test_an_image_and_its_repeats_in_two_tiers(tmp_path):
    tiers = TIERS.copy()
    tiers[0] = "test"  # image 0 is also shown by trial 1, in train
    tiers[2] = "validation"
    assert problems(make(tmp_path, tiers=tiers)) == [
        "warning: meta/trials/tiers.npy: 1 images are in train and in validation, image 1 first: "
        "1 validation trials (33.3%) repeat them",
        "error: meta/trials/tiers.npy: 1 images are in train and in test, image 0 first: "
        "1 test trials (14.3%) repeat them",
    ]


def test_the_same_pixels_under_another_id(tmp_path):
    assert problems(make(tmp_path, images={31: photograph(3)})) == [
        "error: data/images/6.npy and data/images/18.npy: "
        "1 pairs of images in train and test have the same pixels"
    ]


def resaved(image: np.ndarray) -> np.ndarray:
    """Shrunk, enlarged again and made brighter: another file of the same photograph."""
    small = Image.fromarray(image.transpose(1, 2, 0)).resize((30, 30))
    back = np.asarray(small.resize((image.shape[2], image.shape[1]))).transpose(2, 0, 1)
    return np.clip(back * 0.9 + 15, 0, 255).astype(np.uint8)


def test_a_near_duplicate(tmp_path):
    path = make(tmp_path, images={32: resaved(photograph(5))})
    assert problems(path) == [
        "error: data/images/10.npy and data/images/20.npy: "
        "1 pairs of images in train and test are nearly the same, "
        "the closest in place, with other light or coding"
    ]
    (pair,) = audit(path).checks["near duplicates"]["pairs"]
    assert pair["tiers"] == ["train", "test"] and pair["files"] == [10, 20]
    assert problems(path, thresholds=Thresholds(min_agreement=1)) == []


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
def test_ids_that_are_hashes_of_numbers(tmp_path, name):
    ids = np.array([hashlib.new(name, str(n * 7).encode()).hexdigest()[:32] for n in range(len(TIERS))])
    assert problems(make(tmp_path, kind="track1", ids=ids)) == [
        f"error: meta/trials/trial_idx.npy: 26 ids are {name} of decimal numbers, undone by trying them"
    ]


def test_ids_that_are_plain_numbers(tmp_path):
    assert problems(make(tmp_path, kind="track2")) == [
        "error: meta/trials/trial_idx.npy: holds plain numbers, not keyed ids",
    ]


def test_image_ids_that_are_nsds(tmp_path):
    path = make(tmp_path, kind="track1", ids=keyed_ids())
    (path / spec.trials_file("frame_image_id")).write_bytes(array_to_bytes(IMAGE))
    assert problems(path) == ["error: meta/trials/frame_image_id.npy: holds plain numbers, not keyed ids"]


def test_ids_by_a_key_that_anybody_can_guess(tmp_path):
    digests = [hmac.digest(b"p", b"p:0:trial:%d" % number, "sha256").hex()[:32] for number in range(26)]
    assert problems(make(tmp_path, kind="track1", ids=np.array(digests))) == [
        "error: meta/trials/trial_idx.npy: 26 ids follow from a key that anybody can guess, b'p'"
    ]


def test_inversion_knows_other_spellings():
    digests = [hashlib.md5(b"00012").hexdigest(), hashlib.sha1((12).to_bytes(8, "little")).hexdigest()]
    assert inverted(np.array(digests)) == {"md5 of five digits": 1, "sha1 of int64": 1}
    assert inverted(np.array([3, 4])) == {}


# -- what was fitted on which trials ----------------------------------------------------------------


def test_statistics_that_were_fitted_on_test_trials(tmp_path):
    everything = np.arange(len(TIERS))
    strangers, *found = problems(make(tmp_path, fit_rows=everything))
    assert strangers == (
        "error: meta/statistics/fit_on.json: 12 trials outside the train tier "
        "(final_test, test, validation), 5600 first"
    )
    assert [one.split(": ")[1] for one in found] == [f"meta/statistics/{key}/" for key in KEYS]
    for key, one in zip(KEYS, found, strict=True):
        columns = {"behavior": ", for 2 columns", "images": "", "responses": ", for 3 columns"}[key]
        assert "all/mean, all/std, " in one and "stimulus_Frame/mean, stimulus_Frame/std" in one
        assert one.endswith(f" are not those of the training trials{columns}: they fit all trials")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return make(tmp_path_factory.mktemp("clean"))


def statistic_of(package: Package, key: str, statistic: str, tiers: tuple[str, ...]) -> np.ndarray:
    """Compute a statistic of some tiers, by numpy's own functions and all values at once."""
    values = package.trial_arrays(key).gather(np.flatnonzero(np.isin(package.tiers, tiers)))
    values = values.reshape(-1, 1 if key == "images" else values.shape[1]).astype(np.float64)
    found = {
        "mean": values.mean(axis=0),
        "std": values.std(axis=0, ddof=1),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "median": np.median(values, axis=0),
    }[statistic]
    return np.float32(found[0] if key == "images" else found)


@pytest.fixture
def changed(clean):
    """Replace files of the clean package, for one test."""
    before: dict = {}

    def change(name: str, values: np.ndarray) -> None:
        before.setdefault(name, (clean / name).read_bytes())
        (clean / name).write_bytes(array_to_bytes(values))

    yield change
    for name, content in before.items():
        (clean / name).write_bytes(content)


@pytest.mark.parametrize("statistic", spec.STATISTICS)
def test_each_statistic_of_other_trials_is_found_and_named(clean, changed, statistic):
    """Of images, responses and behaviour, fitted on test trials too in one group, on all in the other."""
    expected = {}
    for key in KEYS:
        for group, tiers in zip(spec.STATISTICS_GROUPS, (("train", "test"), spec.TIERS), strict=True):
            fits = "all trials" if tiers == spec.TIERS else "train + test"
            leaky = statistic_of(Package(clean), key, statistic, tiers)
            name = spec.statistics_file(key, group, statistic)
            if (leaky == Package(clean).array(name)).all():  # all images have the same extremes
                leaky, fits = leaky + np.float32(3), None
            changed(name, leaky)
            expected[key, group] = fits
    found = audit(clean)
    for (key, group), fits in expected.items():
        said = found.checks["fits"]["statistics"][key][f"{group}/{statistic}"]
        assert "train" not in said and (fits in said if fits else said == [])
        one = f"error: {spec.statistics_file(key, group, statistic)}: is not the {statistic} over"
        both = f"error: meta/statistics/{key}/: all/{statistic}, stimulus_Frame/{statistic} are not those of"
        assert sum(str(issue).startswith((one, both)) for issue in found.issues) == 1
    assert all(issue.place.startswith("meta/statistics/") for issue in found.issues)


def test_statistics_of_training_and_validation_are_told_from_those_with_test_trials(clean, changed):
    for statistic in ("mean", "std"):
        leaky = statistic_of(Package(clean), "responses", statistic, ("train", "validation"))
        changed(spec.statistics_file("responses", "all", statistic), leaky)
    assert problems(clean) == [
        "error: meta/statistics/responses/: all/mean, all/std are not those of the training trials, "
        "for 3 columns: they fit train + validation"
    ]


def test_statistics_of_withheld_trials_cannot_be_told(tmp_path):
    path = make(tmp_path, kind="track1", ids=keyed_ids())
    name = spec.statistics_file("responses", "all", "std")
    (path / name).write_bytes(array_to_bytes(Package(path).array(name) * np.float32(1.001)))
    assert problems(path) == [
        f"error: {name}: is not the std over the training trials, for {N_UNITS} columns: "
        "it fits no set of tiers that can be seen; final_test and test are withheld"
    ]


def test_statistics_that_are_missing_are_said_not_to_be_checked(tmp_path):
    path = make(tmp_path)
    (path / spec.statistics_file("behavior", "all", "std")).unlink()
    (path / spec.statistics_file("images", "all", "max")).write_bytes(array_to_bytes(np.zeros(3)))
    said = audit(path).checks["fits"]["statistics"]
    assert said["behavior"]["all/std"] == "not checked: missing"
    assert said["images"]["all/max"] == "not checked: float64 of shape (3,)"
    assert said["responses"]["stimulus_Frame/median"] == ["train"]


def test_statistics_that_say_train_and_are_not(tmp_path):
    path = make(tmp_path, fit_rows=np.arange(len(TIERS)))
    train = np.flatnonzero(TIERS == "train") * 400
    (path / spec.FIT_ON).write_text(json.dumps({"tier": "train", "trial_idx": train.tolist()}))
    assert [one.split(": ")[1] for one in problems(path)] == [f"meta/statistics/{key}/" for key in KEYS]


def zscored_on(tiers: np.ndarray, *sessions: int) -> np.ndarray:
    """Fit on training trials, but in some sessions on the tiers given."""
    here = np.isin(np.where(np.arange(len(TIERS)) % 2, 2, 1), sessions)
    return (TIERS == "train") | (here & np.isin(TIERS, tiers))


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (zscored_on(np.array(spec.TIERS), 1, 2), ("sessions 1, 2 were", "all trials")),
        (zscored_on(np.array(["test"]), 2), ("session 2 was", "train + test")),
        (zscored_on(np.array(["validation"]), 1), ("session 1 was", "train + validation")),
    ],
)
def test_zscores_that_were_fitted_on_other_trials(tmp_path, where, told):
    (found,) = problems(make(tmp_path, zscore=where, whole=True))
    assert found.startswith(
        f"error: data/responses/: {told[0]} z-scored on other trials than those of the train tier, "
        "over which means are not 0 or deviations not 1 by up to 0."
    )
    assert found.endswith(f": it fits {told[1]}")


def test_zscores_of_training_trials_are_clean_and_said_so(tmp_path):
    path = make(tmp_path, zscore=TIERS == "train", whole=True)
    found = audit(path)
    numbers = found.checks["fits"]
    assert found.issues == []
    assert numbers["session z-score"] == ["train"]
    assert numbers["normalization"] == "leads back to whole betas"


def test_zscores_of_a_package_that_does_not_tell_sessions(tmp_path):
    ids = keyed_ids()
    path = make(tmp_path, kind="track1", ids=ids, zscore=TIERS == "train")
    found = audit(path)
    assert found.issues == []
    assert found.checks["fits"]["session z-score"] == ["train"]
    assert found.checks["fits"]["normalization"].startswith("not checked: ")
    (found,) = problems(make(tmp_path, kind="track1", ids=ids, zscore=TIERS != "", name="leaky"))
    assert found.startswith("error: data/responses/: responses were z-scored on other trials")
    assert found.endswith(": it fits no set of tiers that can be seen")


def test_a_normalization_that_is_not_what_was_taken_out(tmp_path):
    path = make(tmp_path, zscore=TIERS == "train", whole=True)
    file = path / spec.normalization_file("std")
    std = np.load(file)
    std[1] *= 1.01
    np.save(file, std)
    assert problems(path) == [
        "error: meta/normalization/: does not lead back to whole betas: "
        "session 2 was z-scored with something else"
    ]


def test_units_that_were_chosen_on_other_trials(tmp_path):
    """A threshold that only some units reach on training trials."""
    path = make(tmp_path)
    package = Package(path)
    train = package.rows("train")
    trials = package.trials.iloc[train]
    values = package.responses(train)
    sessions = [values[trials["session"] == session] for session in (1, 2)]
    shown = np.concatenate([trials.loc[trials["session"] == session, "nsd_id"] for session in (1, 2)])
    ncsnr = np.sort(ncsnr_on(sessions, shown))
    for least, expected in (
        (float(ncsnr[0]), []),
        (
            float(ncsnr[-1]),
            [
                "error: meta/neurons/unit_ids.npy: 2 of 3 units do not reach ncsnr_min = "
                f"{float(ncsnr[-1])} on training trials: they were chosen on others"
            ],
        ),
    ):
        chosen = make(tmp_path, manifest={"units": {"ncsnr_min": least}}, name=f"p{least}")
        assert problems(chosen) == expected


def test_everything_at_once_is_found_at_once(tmp_path):
    tiers = TIERS.copy()
    tiers[0] = "test"
    ids = np.array([hashlib.md5(str(n).encode()).hexdigest() for n in range(len(TIERS))])
    images = {31: photograph(3), 32: resaved(photograph(5))}
    path = make(tmp_path, kind="track1", tiers=tiers, ids=ids, images=images, fit_rows=np.arange(26))
    found = "\n".join(problems(path))
    for part in (
        "are in train and in test",
        "same pixels",
        "nearly the same",
        "md5 of decimal",
        "outside the",
    ):
        assert part in found


def test_distances_are_to_the_nearest_training_image(tmp_path):
    path = make(tmp_path)
    numbers = audit(path).checks["distances"]
    train = np.stack([descriptor(photograph(image)) for image in range(7)])
    for one in numbers["test images"]:
        mine = descriptor(photograph(int(IMAGE[one["file"]])))
        distance = 1 - train @ mine
        assert one["distance"] == pytest.approx(distance.min(), abs=1e-6)
        assert IMAGE[one["nearest"]] == distance.argmin()
    assert len(numbers["test images"]) == 5
    distances = [one["distance"] for one in numbers["test images"]]
    assert numbers["quantiles"]["50%"] == pytest.approx(np.median(distances))


def test_features_by_nsd_id_replace_the_descriptor(tmp_path):
    path = make(tmp_path)
    features = np.eye(50, 60)
    features[41] = features[3] * 5
    numbers = audit(path, features=features).checks["distances"]
    assert {IMAGE[one["file"]]: one["distance"] for one in numbers["test images"]} == {
        30: 1, 31: 1, 32: 1, 40: 1, 41: 0,
    }  # fmt: skip
    (one,) = (one for one in numbers["test images"] if one["distance"] == 0)
    assert IMAGE[one["nearest"]] == 3


def test_features_that_do_not_fit(tmp_path):
    with pytest.raises(TierError) as caught:
        audit(make(tmp_path), features=np.zeros((9, 4)))
    assert str(caught.value) == (
        f"{tmp_path / 'p'}: features of shape (9, 4).\n"
        "  Expected: two axes, and a row for every nsd_id up to 41.\n"
        "  What to do: give an array whose row i describes nsd_id i."
    )
    closed = make(tmp_path, kind="track1", name="closed")
    with pytest.raises(TierError, match="by nsd_id, which a package of kind 'track1' does not tell"):
        audit(closed, features=np.zeros((99, 4)))


def test_sessions_and_lags(tmp_path):
    tiers = audit(make(tmp_path)).checks["sessions"]["tiers"]
    assert tiers["test"] == {
        "sessions": [1, 2],
        "share in sessions that are trained on": 1.0,
        "median lag of repeats in trials": 400.0,
        "share of repeats within 750 trials": 1.0,
    }
    assert audit(make(tmp_path, kind="track1", name="q")).checks["sessions"] == {"known": False}


def test_clusters_of_apart_features_do_not_overlap(tmp_path):
    features = np.zeros((50, 2))
    features[:20, 0], features[20:, 1] = 1, 1
    numbers = audit(make(tmp_path), features=features, thresholds=Thresholds(n_clusters=1)).checks["clusters"]
    assert numbers == {"clusters": 1, "test images in clusters with training images": 1.0, "overlap": 1.0}


# -- similarity ---------------------------------------------------------------------------------


def test_images_of_other_kinds_are_described_too():
    grey = photograph(3)[:1]
    np.testing.assert_allclose(descriptor(grey), descriptor(grey.astype(np.float32)), atol=0.02)
    assert descriptor(np.full((1, 5, 7), 9, dtype=np.uint8)).tolist() == [0.0] * 768


def test_nearest_against_scipy():
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(3)
    test, train = rng.normal(size=(300, 6)), rng.normal(size=(17, 6))
    test, train = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (test, train))
    found = nearest(test.astype(np.float32), train.astype(np.float32))
    distance = cdist(test, train, "cosine")
    np.testing.assert_array_equal(found.position, distance.argmin(axis=1))
    np.testing.assert_allclose(found.distance, distance.min(axis=1), atol=1e-6)


# -- page and command ---------------------------------------------------------------------------


def test_page_shows_pairs_and_needs_no_other_file(tmp_path):
    path = make(tmp_path, images={32: resaved(photograph(5))})
    found = audit(path)
    page = audit_page(found, Package(path))
    assert "train 10, test 20" in page and page.count("data:image/png;base64,") >= 2
    assert "nearly the same" in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    assert page == audit_page(found, Package(path))
    assert "data:image" not in audit_page(found, Package(path), images=False)


def test_a_package_without_training_trials_is_audited(tmp_path):
    tiers = np.where(TIERS == "train", "test", TIERS)
    path = make(tmp_path, tiers=tiers, fit_rows=np.arange(14))
    assert [issue.place for issue in audit(path).issues] == [spec.FIT_ON]


def test_page_of_a_package_without_test_images(tmp_path):
    path = make(tmp_path, tiers=np.where(np.isin(TIERS, ["test", "final_test"]), "validation", TIERS))
    assert "There is no test image" in audit_page(audit(path), Package(path))


def test_command_writes_both_and_exits_by_what_it_finds(tmp_path):
    out = tmp_path / "audit.json"
    clean, leaky = make(tmp_path), make(tmp_path, kind="track1", name="leaky")
    run = CliRunner().invoke(command, ["audit", str(clean), "--out", str(out)])
    assert (run.exit_code, run.output) == (0, f"0 errors, 0 warnings; {out}, {tmp_path / 'audit.html'}\n")
    written = json.loads(out.read_text())
    assert set(written["checks"]) == {*CHECKS, "fits", "trials"} and written["issues"] == []
    run = CliRunner().invoke(command, ["audit", str(leaky), "--out", str(out), "--force"])
    assert run.exit_code == 1
    assert "error: meta/trials/trial_idx.npy: holds plain numbers, not keyed ids. Export it" in run.output


def test_decoding_errors_are_the_packages(tmp_path):
    path = make(tmp_path)
    (path / spec.data_file("images", 2)).write_bytes(array_to_bytes(np.zeros(4)))
    run = CliRunner().invoke(command, ["audit", str(path), "--out", str(tmp_path / "audit.json")])
    assert not (tmp_path / "audit.json").exists()
    assert isinstance(run.exception, PackageError)
    assert "data/images/2.npy: holds float64 of shape (4,)" in str(run.exception)

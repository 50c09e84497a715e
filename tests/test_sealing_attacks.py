"""Attacks on packages that withhold, by an entrant's own code: each is at chance, and each can succeed."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from entrant import (
    ATTACKS,
    Design,
    Entrant,
    Loot,
    Secret,
    alike_by_moments,
    alike_by_whole_betas,
    area_under_curve,
    commitments,
    leaks,
)
from exports import recipe

from exporters.packages.export import export_packages
from nsd_bench.loaders.opened import pack
from nsd_bench.package.read import Package
from tiers import load_tier_file
from tiers.rewrite.apply import apply_tiers

KEY = b"thirty-two bytes that nobody has"
KINDS = {"track1": "session_zscore", "track2": "percent"}
WAYS = ("export", "apply")
FORMS = ("folder", "zip", "packed")
TIERS = """
title = "{title}"
source = "a test"

[[rules]]
tier = "none"
where = "nsd_id % 9 == {left_out}"

[[rules]]
tier = "test"
where = "shared1000 and nsd_id % 2 == 0"

[[rules]]
tier = "final_test"
where = "shared1000"

[[rules]]
tier = "validation"
fraction = 0.7

[[rules]]
tier = "train"
"""


@dataclass(frozen=True, repr=False)
class Held:
    """What an entrant holds, and the owner's secret."""

    entrant: Entrant
    secret: Secret

    @property
    def loot(self) -> Loot:
        return self.entrant.loot


@pytest.fixture(scope="module")
def vault(nsd_root, tmp_path_factory) -> dict[str, Held]:
    """Both kinds under one key, exported and with other tiers applied, as folder, zip and packed twin.

    Nothing is left out at first, a ninth of the images after the tiers have changed. So few trials train
    that 198 units are enough to solve for the sessions.
    """
    base = tmp_path_factory.mktemp("sealed")
    tiers = {}
    for way, left_out in zip(WAYS, (9, 4), strict=True):
        tiers[way] = base / f"{way}.toml"
        tiers[way].write_text(TIERS.format(title=way, left_out=left_out))
    opened = Loot(export(nsd_root, base / "open", kind="open", scale="percent", tiers=str(tiers["export"])))
    paths = {}
    for kind, scale in KINDS.items():
        path = export(nsd_root, base / kind, kind=kind, scale=scale, tiers=str(tiers["export"]), key=KEY)
        shutil.copytree(path.parent, base / f"{kind}-applied", copy_function=os.link)
        paths[kind, "export"], paths[kind, "apply"] = path, base / f"{kind}-applied" / path.name
        apply_tiers(paths[kind, "apply"], load_tier_file(str(tiers["apply"])), key=KEY)
    held = {}
    for (kind, way), path in paths.items():
        other = Loot(paths["track2" if kind == "track1" else "track1", way])
        folder = held[f"{kind} {way} folder"] = _held(path, opened, other)
        for form, file in (
            ("zip", path.with_name(f"{path.name}.zip")),
            ("packed", pack(Package(path), path.parent)),
        ):
            loot = Loot(file)
            assert (loot.column("trial_idx") == folder.loot.column("trial_idx")).all()
            held[f"{kind} {way} {form}"] = with_loot(folder, loot)
    return held


def export(root: Path, out: Path, key: bytes | None = None, **changes) -> Path:
    changes["images"] = {"height": 8, "width": 8}
    changes["behavior"] = {"columns": ("ISCORRECT", "RT", "CHANGEMIND")}
    (made,) = export_packages(recipe(**changes), root, out, key=key, progress=False)
    return made.path


def with_loot(held: Held, loot: Loot) -> Held:
    return replace(held, entrant=replace(held.entrant, loot=loot))


def _held(path: Path, opened: Loot, other: Loot | None = None) -> Held:
    """Tell an entrant all but the secret, which the owner of NSD finds by matching pixels and responses."""
    loot = Loot(path)
    truth = dict(np.load(path.with_name(f"{path.name}.truth.npz")))
    responses = loot.data("responses").astype(np.float64)
    place = {one: row for row, one in enumerate(truth["trial_idx"].tolist())}
    for number, one in enumerate(loot.column("trial_idx").tolist()):
        if one in place:
            responses[number] = truth["responses"][place[one]]
    pixels, known = (one.data("images").reshape(one.n, -1) for one in (loot, opened))
    alike = _standard(responses) @ _standard(opened.data("responses").astype(np.float64)).T
    alike[(pixels[:, None, :8] != known[None, :, :8]).any(axis=2)] = -np.inf
    match = alike.argmax(axis=1)
    assert (pixels == known[match]).all() and len(set(match.tolist())) == loot.n
    assert alike[np.arange(loot.n), match].min() > 0.8
    columns = {name: opened.column(name)[match] for name in ("trial_idx", "session", "nsd_id", "repeat")}
    order = np.argsort(columns["trial_idx"])
    design = Design(*(columns[name][order] for name in ("trial_idx", "session", "nsd_id")))
    guess = {name: values for name, values in truth.items() if name != "salt"}
    return Held(Entrant(loot, opened, other, design, guess), Secret(*columns.values()))


def _standard(values: np.ndarray) -> np.ndarray:
    """Standardise units over trials, then scale every trial's units to mean 0 and length 1."""
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def found(held: Held) -> dict[str, list[str]]:
    """What every attack finds out, where it is more than chance."""
    texts = {name: leaks(attack(held.entrant), held.secret) for name, attack in ATTACKS.items()}
    return {name: what for name, what in texts.items() if what}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_attacks_are_at_chance(vault, kind, way, form):
    assert found(vault[f"{kind} {way} {form}"]) == {}


def test_attacks_on_a_package_whose_key_was_derived_are_at_chance(opened, track1):
    assert found(_held(track1.path, Loot(opened.path))) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_beside_is_for_the_owner_only(vault, kind):
    path = vault[f"{kind} apply folder"].loot.path
    names = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    shown = {path.name, f"{path.name}.zip", f"{path.name}.packed", f"{path.name}.lock.json", "left-out"}
    assert {name: oct(mode) for name, mode in names.items() if name not in shown and mode & 0o077} == {}
    assert [name for name in names if name.startswith(".") and any((path.parent / name).iterdir())] == []
    assert (path.parent / "left-out" / path.name).stat().st_mode & 0o077 == 0


# -- each attack can succeed ---


class Planted(Loot):
    """A folder of which some files, or what the disk says of them, were made to tell."""

    def __init__(self, base: Loot, files: dict[str, bytes]) -> None:
        super().__init__(base.path)
        self.files = files
        self.names += [name for name in files if name not in self.names]

    def read(self, name: str) -> bytes:
        return self.files[name] if name in self.files else super().read(name)


def npy(values: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values), allow_pickle=False)
    return stream.getvalue()


def planted(held: Held, files: dict[str, object]) -> Held:
    made = {name: data if isinstance(data, bytes) else npy(data) for name, data in files.items()}
    return with_loot(held, Planted(held.loot, made))


def renumbered(held: Held, order: np.ndarray) -> Held:
    """Number the files anew: file i is what file `order[i]` was."""
    loot, files = held.loot, {}
    for kind in loot.kinds:
        raw = loot.raw(kind)
        files |= {f"data/{kind}/{number}.npy": raw[old] for number, old in enumerate(order.tolist())}
    for name in (name for name in loot.names if name.startswith("meta/trials/")):
        files[name] = loot.array(name)[order]
    secret = Secret(*(values[order] for values in vars(held.secret).values()))
    return replace(planted(held, files), secret=secret)


def in_order_of_the_seed(held: Held) -> Held:
    keys = [hashlib.sha256(f"0:1:{trial}".encode()).digest() for trial in held.secret.trial.tolist()]
    return renumbered(held, np.array(sorted(range(held.loot.n), key=keys.__getitem__)))


def in_order_of_trials(held: Held) -> Held:
    return renumbered(held, np.argsort(held.secret.trial))


def an_images_files_in_order_of_trials(held: Held) -> Held:
    order = np.arange(held.loot.n)
    for image in np.unique(held.secret.nsd_id):
        files = np.flatnonzero(held.secret.nsd_id == image)
        order[files] = files[np.argsort(held.secret.trial[files])]
    return renumbered(held, order)


def in_order_of_the_open_package(held: Held) -> Held:
    place = {trial: number for number, trial in enumerate(held.entrant.opened.column("trial_idx").tolist())}
    return renumbered(held, np.argsort([place[trial] for trial in held.secret.trial.tolist()]))


def ids_of_the_open_package(held: Held) -> Held:
    return planted(held, {"meta/trials/trial_idx.npy": held.secret.trial})


def ids_that_are_md5(held: Held) -> Held:
    ids = [hashlib.md5(str(trial).encode()).hexdigest() for trial in held.secret.trial.tolist()]
    return planted(held, {"meta/trials/trial_idx.npy": ids})


def image_ids_of_nsd(held: Held) -> Held:
    return planted(held, {"meta/trials/frame_image_id.npy": held.secret.nsd_id})


def image_ids_in_nsds_order(held: Held) -> Held:
    rank = np.unique(held.secret.nsd_id, return_inverse=True)[1]
    return planted(held, {"meta/trials/frame_image_id.npy": rank})


def fitted_in_order_of_trials(held: Held) -> Held:
    rows = np.flatnonzero(held.loot.tiers == "train")
    rows = rows[np.argsort(held.secret.trial[rows])]
    fit_on = {"tier": "train", "trial_idx": held.loot.column("trial_idx")[rows].tolist()}
    return planted(held, {"meta/statistics/fit_on.json": json.dumps(fit_on).encode()})


def digests_in_order_of_sessions(held: Held) -> Held:
    lines = held.loot.read("checksums.sha256").decode().splitlines(keepends=True)
    session = {f"data/responses/{number}.npy": one for number, one in enumerate(held.secret.session.tolist())}
    lines.sort(key=lambda line: session.get(line.split("  ", 1)[1].strip(), 0))
    return planted(held, {"checksums.sha256": "".join(lines).encode()})


def ids_by_key(key: bytes) -> Callable[[Held], Held]:
    def plant(held: Held) -> Held:
        head = f"{held.loot.manifest['name']}:1"
        ids = {
            (what, number): hmac.new(key, f"{head}:{what}:{number}".encode(), "sha256").hexdigest()[:32]
            for what, numbers in (("trial", held.secret.trial), ("image", held.secret.nsd_id))
            for number in np.unique(numbers).tolist()
        }
        images = sorted(np.unique(held.secret.nsd_id).tolist(), key=lambda number: ids["image", number])
        rank = {number: place for place, number in enumerate(images)}
        return planted(
            held,
            {
                "meta/trials/trial_idx.npy": [ids["trial", one] for one in held.secret.trial.tolist()],
                "meta/trials/frame_image_id.npy": [rank[one] for one in held.secret.nsd_id.tolist()],
            },
        )

    return plant


def normalization_inside(held: Held) -> Held:
    path = held.loot.path.with_name(f"{held.loot.path.name}.normalization.npz")
    with np.load(path) as owners:
        return planted(held, {f"meta/normalization/{name}.npy": owners[name] for name in ("mean", "std")})


def behaviour_with(name: str, column: Callable[[Secret], np.ndarray]) -> Callable[[Held], Held]:
    def plant(held: Held) -> Held:
        values, more = held.loot.data("behavior"), column(held.secret).astype(np.float32)
        files: dict[str, object] = {
            f"data/behavior/{number}.npy": np.append(values[number], more[number])
            for number in range(held.loot.n)
        }
        names = [*held.loot.json("meta/behavior_names.json"), name]
        return planted(held, files | {"meta/behavior_names.json": json.dumps(names).encode()})

    return plant


def responses_in_one_file(held: Held) -> Held:
    row = int(np.flatnonzero(held.loot.withheld)[0])
    return planted(held, {f"data/responses/{row}.npy": held.loot.data("responses")[~held.loot.withheld][0]})


def signs_of_zeros(held: Held) -> Held:
    row = int(np.flatnonzero(held.loot.withheld)[0])
    return planted(held, {f"data/responses/{row}.npy": -held.loot.data("responses")[row]})


def headers_by_session(held: Held) -> Held:
    rows = np.flatnonzero(held.secret.session == 1).tolist()
    images = held.loot.data("images")
    return planted(held, {f"data/images/{row}.npy": np.asfortranarray(images[row]) for row in rows})


def more_files(held: Held) -> Held:
    return planted(
        held, {"meta/trials/session.npy": held.secret.session, "meta/order.npy": held.secret.trial}
    )


def behaviour_of_the_open_package(held: Held) -> Held:
    theirs = held.entrant.opened.read("checksums.sha256").decode().splitlines()
    digests = dict(line.split("  ", 1)[::-1] for line in theirs)
    number = {trial: place for place, trial in enumerate(held.entrant.opened.column("trial_idx").tolist())}
    lines = [
        f"{digests[f'data/behavior/{number[trial]}.npy']}  data/behavior/{file}.npy"
        for file, trial in enumerate(held.secret.trial.tolist())
    ]
    ours = held.loot.read("checksums.sha256").decode().splitlines()
    lines += [line for line in ours if "  data/behavior/" not in line]
    return planted(held, {"checksums.sha256": "\n".join(lines).encode()})


def itself(held: Held) -> Held:
    return replace(held, entrant=replace(held.entrant, other=held.loot))


def commitments_without_secret(held: Held) -> Held:
    guess = held.entrant.guess
    digests = commitments(guess, np.full(len(guess["tier"]), ""))
    manifest = held.loot.manifest | {"commitments": digests}
    return planted(held, {"manifest.json": json.dumps(manifest).encode()})


def dates_by_image(held: Held, folder: Path) -> Held:
    """Give every image the date at which 0.1 wrote it: in the order of nsd_id."""
    copy = folder / held.loot.path.name
    shutil.copytree(held.loot.path, copy)
    for number, image in enumerate(held.secret.nsd_id.tolist()):
        os.utime(copy / f"data/images/{number}.npy", ns=(0, 10**9 * image))
    return with_loot(held, Loot(copy))


def zipped(
    order: Callable[[Secret], np.ndarray], date: Callable[[Secret], np.ndarray]
) -> Callable[[Held, Path], Held]:
    """Zip a folder with entries in one's own order and with one's own dates."""

    def plant(held: Held, folder: Path) -> Held:
        loot, path = held.loot, folder / "made.zip"
        rank, days = order(held.secret), date(held.secret)
        numbers = {f"data/{kind}/{number}.npy": number for kind in loot.kinds for number in range(loot.n)}
        with zipfile.ZipFile(path, "w") as archive:
            for name in sorted(loot.names, key=lambda name: rank[numbers[name]] if name in numbers else -1):
                day = datetime.date(1980, 1, 1) + datetime.timedelta(int(days[numbers.get(name, 0)]))
                archive.writestr(
                    zipfile.ZipInfo(f"top/{name}", (*day.timetuple()[:3], 0, 0, 0)), loot.read(name)
                )
        return with_loot(held, Loot(path))

    return plant


def files_in_order(secret: Secret) -> np.ndarray:
    return np.arange(len(secret.trial))


def one_day(secret: Secret) -> np.ndarray:
    return np.zeros(len(secret.trial))


PLANTS: list[tuple[str, str, Callable, str]] = [
    ("order_from_public_numbers", "track1", in_order_of_the_seed, "SHA-256 of '{s}:{u}:{t}' with 0"),
    ("file_number_is_the_trial", "track1", in_order_of_trials, "file number ranks as trial: rho +1.000"),
    ("file_number_is_the_trial", "track1", an_images_files_in_order_of_trials, "order of an image's files"),
    ("numbering_of_the_open_package", "track1", in_order_of_the_open_package, "file i is file i of the open"),
    ("numbering_of_the_open_package", "track2", ids_of_the_open_package, "trial_idx of the open package"),
    ("marks_of_files", "track1", dates_by_image, "mtime of images ranks as nsd_id: rho +1.000"),
    ("marks_of_files", "track1", zipped(lambda s: s.trial, one_day), "offset of responses"),
    ("marks_of_files", "track2", zipped(files_in_order, lambda s: s.session), "date of images"),
    ("order_of_tables", "track1", image_ids_in_nsds_order, "frame_image_id ranks as nsd_id: rho +1.000"),
    ("order_of_tables", "track1", fitted_in_order_of_trials, "place in fit_on ranks as trial: rho +1.000"),
    ("order_of_tables", "track2", digests_in_order_of_sessions, "place of responses among the digests"),
    ("plain_or_hashed_ids", "track1", ids_that_are_md5, "trial_idx is md5 of '{}'"),
    ("plain_or_hashed_ids", "track2", image_ids_of_nsd, "frame_image_id itself: nsd_id of 1500 of 1500"),
    ("guessed_key", "track1", ids_by_key(b""), "trial_idx under the key b''"),
    ("guessed_key", "track2", ids_by_key(b"demo-subj01"), "frame_image_id under the key b'demo-subj01'"),
    ("guessed_key", "track2", ids_by_key(b"\x07"), "trial_idx under the key"),
    ("guessed_key", "track1", ids_by_key(hmac.digest(b"secret", b"track1", "sha256")), "trial_idx under the"),
    ("sessions_by_normalization", "track1", normalization_inside, "whole betas under meta/normalization"),
    ("behaviour_in_time", "track2", behaviour_with("TIME", lambda s: s.trial), "TIME ranks as trial"),
    ("behaviour_in_time", "track2", behaviour_with("ISOLD", lambda s: s.repeat > 0), "ISOLD ranks as repeat"),
    ("what_is_withheld", "track1", responses_in_one_file, "1 files of withheld responses are not zero"),
    ("what_is_withheld", "track2", signs_of_zeros, "1 files of withheld responses are not zero"),
    ("what_is_withheld", "track2", headers_by_session, "header of images ranks as session"),
    ("files_that_do_not_belong", "track1", more_files, "meta/trials/session.npy is there"),
    ("digests_of_the_open_package", "track1", behaviour_of_the_open_package, "equal digests of behavior"),
    ("join_of_two_packages", "track1", itself, "1500 trial_idx are those of the other package"),
    ("commitments_by_guessed_salts", "track1", commitments_without_secret, "verifies responses with empty"),
]  # fmt: skip


def test_every_attack_has_a_plant():
    assert {name for name, *_ in PLANTS} == ATTACKS.keys()


@pytest.mark.parametrize(("name", "kind", "plant", "text"), PLANTS)
def test_attacks_succeed_where_there_is_something_to_find(vault, tmp_path, name, kind, plant, text):
    held = vault[f"{kind} export folder"]
    held = plant(held, tmp_path) if name == "marks_of_files" else plant(held)
    texts = leaks(ATTACKS[name](held.entrant), held.secret)
    assert any(text in one for one in texts), texts


def test_commitments_are_those_of_the_truth_with_its_salts(vault):
    """By code of one's own: else the attack on them would fail for want of the right spelling."""
    for kind in KINDS:
        loot = vault[f"{kind} export folder"].loot
        truth = dict(np.load(loot.path.with_name(f"{loot.path.name}.truth.npz")))
        assert commitments(truth, truth["salt"]) == loot.manifest["commitments"]


@pytest.mark.parametrize("way", WAYS)
def test_sessions_of_zscored_training_trials_are_not_sealed_as_the_docs_say(vault, way):
    """What was fitted on a session's training trials leaves its mark in them (docs/sealing.md)."""
    for form in FORMS:
        held = vault[f"track1 {way} {form}"]
        assert area_under_curve(alike_by_moments(held.entrant), held.secret) > 0.95
        assert area_under_curve(alike_by_whole_betas(held.entrant), held.secret) > 0.95
    percent = vault[f"track2 {way} folder"]
    for alike in (alike_by_moments, alike_by_whole_betas):
        assert abs(area_under_curve(alike(percent.entrant), percent.secret) - 0.5) < 0.05

"""Withholding packages: the key orders their files, and nothing that is written tells order or session.

What an entrant could try is in test_sealing_attacks.py; here is what the owner relies on.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from exports import KEY, true_trials
from exports import export as export_any
from test_tiers_apply import contents, copy, except_provenance, export

from exporters.nsd.behaviour import BEHAVIOUR_COLUMNS
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
from nsd_bench.cli import cli
from nsd_bench.errors import OptionError, OutputError, PackageError, RecipeError
from nsd_bench.loaders.opened import pack
from nsd_bench.package import keys, spec
from nsd_bench.package.keys import read_key
from nsd_bench.package.lock import read_lock, verify_lock
from nsd_bench.package.read import Package
from nsd_bench.package.sealing import TELLS_ORDER
from nsd_bench.package.truth import Truth
from nsd_bench.package.validate import validate
from nsd_bench.package.write import new_package
from tiers import load_tier_file
from tiers.rewrite.apply import apply_tiers
from tiers.rewrite.renormalise import Normalization, read_normalization
from tiers.rewrite.swap import alone

OTHER = load_tier_file("shared1000")


@pytest.fixture(scope="module")
def sealed(nsd_root, tmp_path_factory) -> Path:
    """Folder and zip of a z-scored package of kind track2, made with a key."""
    parent = tmp_path_factory.mktemp("sealed")
    return export(nsd_root, parent, kind="track2", scale="session_zscore", forms=("folder", "zip"))


@pytest.fixture(scope="module")
def unsealed(nsd_root, tmp_path_factory) -> Path:
    """The open package of the same trials."""
    parent = tmp_path_factory.mktemp("unsealed")
    return export(nsd_root, parent, kind="open", scale="session_zscore")


# -- order --------------------------------------------------------------------------------------


def keyed(key: bytes, kind: str, package: str, what: str, number: int) -> str:
    folded = hmac.digest(key, kind.encode(), "sha256")
    return hmac.digest(folded, f"{package}:1:{what}:{number}".encode(), "sha256").hex()[:32]


def test_the_key_orders_the_files(sealed, unsealed):
    package, trial = Package(sealed), true_trials(Package(sealed), KEY)
    digests = [keyed(KEY, "track2", package.name, "order", number) for number in trial.tolist()]
    assert digests == sorted(digests)
    of_open = Package(unsealed).trials["trial_idx"].to_numpy()
    assert sorted(trial) == sorted(of_open)
    assert (trial == of_open).mean() < 0.01
    assert abs(np.corrcoef(trial, np.arange(len(trial)))[0, 1]) < 0.1


def test_one_key_gives_two_kinds_nothing_in_common(nsd_root, tmp_path, sealed):
    """Track 2 shows behaviour: whoever finds its trials in track 1 has that of track 1."""
    recipe = load_recipe("demo", subjects=(1,), kind="track1", sessions=(1,))
    (made,) = export_packages(recipe, nsd_root, tmp_path, forms=("zip",), key=KEY, progress=False)
    track1, track2 = Package(made.path), Package(sealed)
    assert not set(track1.trials["trial_idx"]) & set(track2.trials["trial_idx"])
    orders = true_trials(track1, KEY), true_trials(track2, KEY)
    assert sorted(orders[0]) == sorted(orders[1])
    assert (orders[0] == orders[1]).mean() < 0.02


def test_the_seed_orders_open_packages_alone(nsd_root, tmp_path, track1):
    other = export_any(nsd_root, tmp_path, kind="track1", seed=7)
    assert other.trials.equals(track1.trials)


def test_a_derived_key_does_not_depend_on_the_order_of_files():
    rng = np.random.default_rng(3)
    withheld = rng.normal(size=(20, 7)).astype(np.float32)
    key = keys.derive_key("p", withheld)
    assert keys.derive_key("p", withheld[rng.permutation(20)]) == key
    assert keys.derive_key("q", withheld) != key
    withheld[4, 2] += 1e-6
    assert keys.derive_key("p", withheld) != key


def test_a_key_is_not_made_of_next_to_nothing(nsd_root, tmp_path, sealed):
    nothing = tmp_path / "train.toml"
    nothing.write_text('title = "t"\nsource = "s"\n[[rules]]\ntier = "train"\n')
    text = (
        "demo-subj01: 0 responses are withheld, and a key made of them could be guessed.\n"
        "  Expected: a key of your own, or tiers that withhold 64 responses or more.\n"
        "  What to do: give a key with --key, choose other tiers, or make a package of kind 'open'."
    )
    recipe = load_recipe("demo", subjects=(1,), tiers=str(nothing))
    with pytest.raises(OptionError) as caught:
        list(export_packages(recipe, nsd_root, tmp_path / "out", progress=False))
    assert str(caught.value) == text
    assert not (tmp_path / "out").exists()
    path = copy(export(nsd_root, tmp_path / "a", kind="track1"), tmp_path / "p")
    before = contents(path.parent)
    with pytest.raises(OptionError) as caught:
        apply_tiers(path, load_tier_file(str(nothing)))
    assert str(caught.value) == text
    assert contents(path.parent) == before
    with_key = copy(sealed, tmp_path / "k")
    assert apply_tiers(with_key, load_tier_file(str(nothing)), key=KEY).truth is None
    apply_tiers(with_key, load_tier_file("sensorium"), key=KEY)
    assert contents(with_key.parent) == contents(sealed.parent)


# -- what is written ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def applied(sealed, tmp_path_factory) -> Path:
    """The same after another tier file has been applied."""
    path = copy(sealed, tmp_path_factory.mktemp("applied") / "p")
    apply_tiers(path, OTHER, key=KEY)
    return path


@pytest.mark.parametrize("made_by", ["sealed", "applied"])
def test_all_files_and_folders_have_one_date(request, tmp_path, made_by):
    path = request.getfixturevalue(made_by)
    twin = pack(Package(path), tmp_path)
    left_out = path.parent / "left-out" / path.name
    for folder in (path, twin, *([left_out] if left_out.exists() else [])):
        dates = {found.stat().st_mtime_ns for found in (folder, *folder.rglob("*"))}
        assert dates == {315_532_800 * 10**9}, folder


def test_images_lie_on_disk_in_the_order_of_their_numbers(sealed):
    """Most disks give inodes away one after another: when an image was written must not follow nsd_id."""
    package = Package(sealed)
    first = package.trials.drop_duplicates("frame_image_id").index.to_numpy()
    inodes = [(sealed / spec.data_file("images", row)).stat().st_ino for row in first]
    nsd_id = design(sealed).loc[true_trials(package, KEY)[first], "nsd_id"]
    assert abs(pd.Series(inodes).corr(pd.Series(nsd_id.to_numpy()), method="spearman")) < 0.2


def design(path: Path) -> pd.DataFrame:
    return pd.read_csv(f"{path}.design.csv").set_index("trial")


@pytest.mark.parametrize("made_by", ["sealed", "applied"])
def test_the_owner_alone_knows_the_normalization(request, unsealed, made_by):
    path = request.getfixturevalue(made_by)
    beside = path.parent / "demo-subj01.normalization.npz"
    assert beside.stat().st_mode & 0o777 == 0o600
    package = Package(path)
    assert not any("normalization" in name for name in package.store.names())
    assert not any("normalization" in name for name in Package(f"{path}.zip").store.names())
    found = read_normalization(package)
    assert found is not None
    trial = true_trials(package, KEY)
    shown = ~np.isin(package.tiers, spec.WITHHELD_TIERS)
    row = found.sessions.searchsorted(design(path).loc[trial, "session"])
    percent = package.responses(slice(None)) * found.std[row] + found.mean[row]
    betas = percent[shown] * 300
    np.testing.assert_allclose(betas, np.rint(betas), atol=0.01)
    if made_by == "sealed":
        inside = read_normalization(Package(unsealed))
        assert inside is not None
        np.testing.assert_array_equal(found.mean, inside.mean)


def test_apply_needs_the_normalization_of_the_package(sealed, tmp_path):
    path = copy(sealed, tmp_path / "p")
    beside = path.parent / "demo-subj01.normalization.npz"
    found = read_normalization(Package(path))
    assert found is not None
    beside.unlink()
    for change, problem in (
        (None, f"{path}: what its responses were z-scored with is not here.\n  Expected: its owner's file"),
        (b"no zip", f"{beside}: does not hold means and deviations (it is another kind of file"),
        (found, f"{beside}: belongs to another package: it names another manifest.\n"),
        (
            Normalization(found.sessions[:0], found.mean, found.std),
            f"{beside}: does not hold means and deviations (sessions has shape (0,), mean (1, ",
        ),
    ):
        if isinstance(change, Normalization):
            change.write(beside, "demo-subj01", "0" * 64)
        elif change is not None:
            beside.write_bytes(change)
        with pytest.raises(PackageError) as caught:
            apply_tiers(path, OTHER, key=KEY)
        assert str(caught.value).startswith(problem)


# -- packages made before -----------------------------------------------------------------------


def as_before(unsealed: Path, parent: Path, key: bytes | None) -> Path:
    """Write the package of kind track2 that nsd-bench 0.1.0 made: ordered by seed, normalization inside."""
    open_, name = Package(unsealed), unsealed.name
    withheld = np.isin(open_.tiers, spec.WITHHELD_TIERS)
    responses = open_.responses(slice(None))
    if key is None:
        rows = np.ascontiguousarray(responses[withheld])
        key = hashlib.sha256(name.encode() + b"\0" + hashlib.sha256(rows.data).digest()).digest()

    def ids(what: str, numbers: pd.Series) -> np.ndarray:
        names = (f"{name}:1:{what}:{number}".encode() for number in numbers)
        return np.array([hmac.digest(key, one, "sha256").hex()[:32] for one in names])

    trial_idx = ids("trial", open_.trials["trial_idx"])
    image = np.unique(ids("image", open_.trials["nsd_id"]), return_inverse=True)[1]
    truth = replace(
        Truth.of_rows(open_, np.flatnonzero(withheld)),
        trial_idx=trial_idx[withheld],
        frame_image_id=image[withheld],
        nsd_id=None,
        salt=ids("salt", open_.trials["trial_idx"][withheld]),
    )
    tables = {"tiers": open_.tiers, "trial_idx": trial_idx, "frame_image_id": image}
    recipe = open_.manifest["recipe"]
    with new_package(parent, name) as writer:
        for row in range(open_.n_trials):
            writer.add_image(row, int(image[row]), open_.images([row])[0])
            shown = np.zeros(open_.n_units, np.float32) if withheld[row] else responses[row]
            writer.add_array(spec.data_file("responses", row), shown)
        for file in open_.store.names():
            if file.startswith(("data/behavior/", "meta/", spec.TERMS)) and "/trials/" not in file:
                writer.add_bytes(file, bytes(open_.store.view(file)))
        for column, values in tables.items():
            writer.add_array(spec.trials_file(column), values)
        writer.add_array(spec.trials_file("frame_image_class"), np.full(len(image), "none"))
        train = trial_idx[open_.tiers == "train"].tolist()
        writer.add_json(spec.FIT_ON, {"tier": "train", "trial_idx": train})
        changes = {
            "kind": "track2",
            "recipe": {**recipe, "values": {**recipe["values"], "kind": "track2"}},
            "withheld_tiers": ["test", "final_test"],
            "commitments": truth.commitments(),
        }
        digest = writer.finish({**open_.manifest, **changes})
        replace(truth, manifest_sha256=digest).write(writer.beside / f"{name}.truth.npz")
        shutil.copy(f"{unsealed}.design.csv", writer.beside)
    return parent / name


@pytest.mark.parametrize("made_with", [KEY, KEY + b"\n", None])
def test_a_package_of_before_opens_and_is_sealed_by_apply(tmp_path, sealed, unsealed, made_with):
    path = as_before(unsealed, tmp_path / "old", made_with)
    old = Package(path)
    for form in (path, f"{path}.zip"):
        (issue,) = validate(form)
        assert issue.level == "warning" and issue.problem.startswith("was made before nsd-bench 0.2")
    assert Truth.read(f"{path}.truth.npz").nsd_id is None
    assert read_normalization(old) is not None
    assert "sealing" not in old.manifest
    inodes = {file.stat().st_ino for file in path.glob("data/*/*")}  # they lie in the order of the seed

    applied = apply_tiers(path, load_tier_file("sensorium"), key=KEY if made_with else None)
    assert not applied.renormalised
    assert not inodes & {file.stat().st_ino for file in path.glob("data/*/*")}
    assert validate(path) == validate(f"{path}.zip") == []
    assert Package(path).manifest["sealing"] == Package(sealed).manifest["sealing"]
    if made_with:
        ours, theirs = (except_provenance(contents(one.parent)) for one in (path, sealed))
        assert ours == theirs
        truths = [Truth.read(f"{one}.truth.npz") for one in (path, sealed)]
        assert truths[0].commitments() == truths[1].commitments()
    new = Package(path)
    rows = new.trials.groupby("frame_image_id").indices.values()
    repeats = max(rows, key=len)
    assert len({(path / spec.data_file("images", row)).stat().st_ino for row in repeats}) == 1
    apply_tiers(path, OTHER, key=KEY if made_with else None)  # and now as any other
    assert validate(path) == []


# -- verify -------------------------------------------------------------------------------------


def verify(path: Path, nsd_root: Path, *options: object) -> tuple[int, str]:
    arguments = ["verify", str(path), "--nsd-root", str(nsd_root), "--sample", "20%", *map(str, options)]
    done = CliRunner().invoke(cli, arguments)
    return done.exit_code, done.output if done.exit_code == 0 else str(done.exception)


def test_verify_finds_the_order_by_key_or_truth(nsd_root, tmp_path, sealed):
    key = tmp_path / "key"
    key.write_bytes(KEY + b"\n")
    key.chmod(0o600)
    for path in (sealed, Path(f"{sealed}.zip")):
        code, text = verify(path, nsd_root, "--key", key)
        assert (code, text.splitlines()[-1]) == (0, "the same"), text
    code, text = verify(sealed, nsd_root)
    n = Package(sealed).n_trials
    assert text == (
        f"{sealed}: the ids of {n} of {n} trials come from neither a key nor a truth.\n"
        "  Expected: what the order of its files follows from.\n"
        "  What to do: give --key KEYFILE if it was exported with a key, or else --truth TRUTH."
    )


def test_verify_takes_the_files_that_lie_beside_the_truth(nsd_root, tmp_path):
    path = export(nsd_root, tmp_path / "a", kind="track1", scale="session_zscore")
    assert verify(path, nsd_root)[0] == 0
    shutil.copytree(path, tmp_path / "b" / path.name)
    text = verify(tmp_path / "b" / path.name, nsd_root)[1]
    assert "come from neither a key nor a truth" in text or "z-scored with is not here" in text
    assert verify(tmp_path / "b" / path.name, nsd_root, "--truth", f"{path}.truth.npz")[0] == 0


# -- behaviour ----------------------------------------------------------------------------------


@pytest.mark.parametrize("column", sorted(TELLS_ORDER))
def test_behaviour_that_tells_the_order_is_refused(nsd_root, tmp_path, column):
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'title = "t"\nkind = "track2"\n[behavior]\ncolumns = ["RT", "{column}"]\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(recipe))
    assert str(caught.value) == (
        f"{recipe}: behavior.columns holds '{column}', which {TELLS_ORDER[column]}.\n"
        "  Expected: in a package of kind 'track2', whose order is withheld: ISCORRECT, RT, CHANGEMIND.\n"
        f"  What to do: remove '{column}' from 'columns', or make a package of kind 'open' or 'track1'."
    )
    assert load_recipe(str(recipe), kind="open").behavior.columns == ("RT", column)
    wanted = load_recipe(str(recipe), kind="track1", subjects=(1,)).model_copy(update={"kind": "track2"})
    with pytest.raises(RecipeError, match=f"holds '{column}', which"):
        list(export_packages(wanted, nsd_root, tmp_path / "out", progress=False))


def test_every_column_is_refused_or_free_of_the_order(nsd_root):
    """What is left does not tell old from new, alone or together with the others."""
    table = pd.read_csv(nsd_root / "nsddata/ppdata/subj01/behav/responses.tsv", sep="\t")
    free = [column for column in BEHAVIOUR_COLUMNS if column not in TELLS_ORDER]
    assert free == ["ISCORRECT", "RT", "CHANGEMIND"]
    pressed = table[table["RT"].notna()]
    assert np.array_equal(pressed["ISOLD"] == 1, (pressed["BUTTON"] == 2) == (pressed["ISCORRECT"] == 1))
    for column in ("ISCORRECT", "CHANGEMIND"):
        assert abs(pressed[column].corr(pressed["ISOLD"])) < 0.5


# -- keys ---------------------------------------------------------------------------------------

MAKE = (
    "\n  What to do: make one by\n"
    '    python -c "import secrets; print(secrets.token_hex(32))" > key && chmod 600 key\n'
    "  and give it with --key key."
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the key cannot be read (No such file or directory)"),
        ("folder", "the key cannot be read (Is a directory)"),
        (b"", "the key is empty"),
        (b"\n", "the key is empty"),
        (b"fifteen bytes..\n", "the key has 15 bytes"),
        (b"fifteen bytes..\r\n", "the key has 15 bytes"),
    ],
)
def test_keys_that_are_none(nsd_root, tmp_path, sealed, content, problem):
    path = tmp_path / "key"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    for arguments in (
        ["export", "demo", "--nsd-root", nsd_root, "--out", tmp_path / "out", "--quiet"],
        ["tiers", "apply", sealed, "shared1000"],
        ["verify", sealed, "--nsd-root", nsd_root],
    ):
        done = CliRunner().invoke(cli, [*map(str, arguments), "--key", str(path)])
        assert isinstance(done.exception, OptionError)
        text = str(done.exception)
        assert text.startswith(f"{path}: {problem}.\n  Expected: a ")
        assert text.endswith(MAKE)
    assert not (tmp_path / "out").exists()


def test_the_command_that_errors_print_makes_a_key(tmp_path):
    command = MAKE.splitlines()[2].strip().replace("python ", f"{sys.executable} ")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert len(read_key(tmp_path / "key")) == 64
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_line_break_at_the_end_is_no_part_of_a_key(tmp_path):
    path = tmp_path / "key"
    for end in (b"", b"\n", b"\r\n"):
        path.write_bytes(KEY + end)
        assert read_key(path) == KEY
    path.write_bytes(KEY + b"\n\n")
    assert read_key(path) == KEY + b"\n"


def test_short_keys_are_refused_from_python_too(nsd_root, tmp_path, sealed):
    for call in (
        lambda: list(export_packages(load_recipe("demo"), nsd_root, tmp_path / "out", key=b"short")),
        lambda: apply_tiers(sealed, OTHER, key=b""),
    ):
        with pytest.raises(OptionError, match=r"key: the key (has 5 bytes|is empty)\."):
            call()


def test_a_key_that_others_can_read_is_warned_of(nsd_root, tmp_path, sealed):
    path = tmp_path / "key"
    path.write_bytes(KEY)
    for mode, warns in ((0o600, False), (0o640, True), (0o604, True)):
        path.chmod(mode)
        done = CliRunner().invoke(
            cli, ["verify", str(sealed), "--lock", f"{sealed}.lock.json", "--key", str(path)]
        )
        assert done.exit_code == 0
        warning = f"Warning: {path} can be read by others than its owner; run: chmod 600 {path}\n"
        assert (done.stderr == warning) == warns


# -- two at once --------------------------------------------------------------------------------

APPLY = "import sys; from nsd_bench.cli import main; sys.argv[0] = 'nsd-bench'; main()"


@pytest.mark.parametrize("seconds_apart", [0.0, 0.3])
def test_two_applications_exclude_each_other(sealed, tmp_path, seconds_apart):
    path, key = copy(sealed, tmp_path / "p"), tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    command = [sys.executable, "-c", APPLY, "tiers", "apply", str(path), "NAME", "--key", str(key)]
    running = []
    for name in ("shared1000", "mindeye-new"):
        arguments = [name if part == "NAME" else part for part in command]
        running.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        time.sleep(seconds_apart)
    texts = [process.communicate()[1] for process in running]
    codes = [process.returncode for process in running]
    assert 0 in codes
    if 1 in codes:
        assert texts[codes.index(1)] == (
            f"Error: OutputError: {path}: another process is giving this package other tiers; nothing was "
            "changed.\n  Expected: one 'nsd-bench tiers apply' of a package at a time.\n"
            "  What to do: wait for it to end, or stop it, then run the command again.\n"
        )
    whole(path)


def whole(path: Path) -> None:
    assert validate(path) == validate(f"{path}.zip") == []
    lock = read_lock(f"{path}.lock.json")
    assert verify_lock(Package(path), lock) == verify_lock(Package(f"{path}.zip"), lock) == []
    assert Truth.read(f"{path}.truth.npz").manifest_sha256 == Package(path).manifest_sha256
    assert not [hidden.name for hidden in path.parent.iterdir() if hidden.name.startswith(".")]


def test_the_second_is_refused_while_the_first_works(sealed, tmp_path):
    path = copy(sealed, tmp_path / "p")
    staging = path.parent / ".demo-subj01.tiers"
    with alone(staging):
        staging.mkdir()
        (staging / "new").touch()
        for call in (
            lambda: apply_tiers(path, OTHER, key=KEY),
            lambda: CliRunner().invoke(
                cli, ["tiers", "show", "shared1000", "--package", str(path)], catch_exceptions=False
            ),
        ):
            with pytest.raises(OutputError, match="another process is giving this package other tiers"):
                call()
        assert (staging / "new").exists()  # the first one's work is left alone
    apply_tiers(path, OTHER, key=KEY)
    whole(path)


def test_a_lock_dies_with_its_process(sealed, tmp_path):
    path = copy(sealed, tmp_path / "p")
    script = (
        "import os, signal, sys; from pathlib import Path; from tiers.rewrite.swap import alone\n"
        "with alone(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    staging = path.parent / ".demo-subj01.tiers"
    subprocess.run([sys.executable, "-c", script, str(staging)], check=False)
    assert (path.parent / ".demo-subj01.tiers.lock").exists()
    apply_tiers(path, OTHER, key=KEY)
    whole(path)


def test_a_lock_that_its_holder_has_just_removed_is_no_lock(tmp_path, monkeypatch):
    """Opened before the removal, locked after it: others would lock another file of that name."""
    staging, real, calls = tmp_path / ".p.tiers", fcntl.flock, []

    def flock(handle, how):
        if not calls:
            (tmp_path / ".p.tiers.lock").unlink()
        calls.append(how)
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone(staging):
        assert len(calls) == 2
        with pytest.raises(OutputError), alone(staging):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_does_not_make_it_impossible(sealed, tmp_path, monkeypatch, number):
    def flock(handle, how):
        raise OSError(number, os.strerror(number))

    path = copy(sealed, tmp_path / "p")
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="this disk has no file locks; do not change a package twice"):
        apply_tiers(path, OTHER, key=KEY)
    whole(path)

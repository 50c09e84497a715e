"""Truth files: format 2 knows nsd_id, format 1 is read and commits as it did."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from test_reveal import salted

from nsd_bench.cli.packages import reveal_command as reveal
from nsd_bench.errors import PackageError
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth, load_truth

# What nsd-bench 0.1.0 committed to for the truth that `format_1` writes.
COMMITTED_IN_FORMAT_1 = {
    "test": "c1f69b6486f273b2ef9c959685af52feb604adf2eb465ff1644c64f0bde9e24e",
    "final_test": "f89c51c78823768e89dad0080f688804b34dba8709247d160e115355579bc0fb",
}


def npy(descr: str, shape: str, data: bytes) -> bytes:
    """Write a .npy file byte by byte, as version 1.0 of its format has it."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def text(value: str) -> bytes:
    return npy(f"<U{len(value)}", "()", value.encode("utf-32-le"))


def texts(*values: str) -> bytes:
    width = max(map(len, values))
    data = b"".join(value.ljust(width, "\0").encode("utf-32-le") for value in values)
    return npy(f"<U{width}", f"({len(values)},)", data)


def format_1(path: Path, **changes: bytes | None) -> Path:
    """Write a truth of 3 trials and 2 units as nsd-bench 0.1.0 did."""
    header = {
        "format": "nsd_bench.truth/1",
        "manifest_sha256": "b" * 64,
        "package": "tiny-subj02",
        "subject": 2,
    }
    entries = {
        "header": text(json.dumps(header)),
        "roi_names": text('{"visual": {"1": "V1"}}'),
        "trial_idx": texts("0c" * 16, "0a" * 16, "0b" * 16),
        "frame_image_id": npy("<i8", "(3,)", struct.pack("<3q", 7, 5, 7)),
        "tier": texts("test", "final_test", "test"),
        "responses": npy("<f4", "(3, 2)", struct.pack("<6f", 0.5, -1.25, 3, 0.125, -0.75, 2)),
        "unit_ids": npy("<i8", "(2,)", struct.pack("<2q", 40, 77)),
        "ncsnr": npy("<f4", "(2,)", struct.pack("<2f", 0.5, 1.5)),
        "response_mean": npy("<f4", "(2,)", struct.pack("<2f", 0.25, -0.5)),
        "response_std": npy("<f4", "(2,)", struct.pack("<2f", 1.5, 2)),
        "salt": texts("1" * 32, "2" * 32, "3" * 32),
        "roi_visual": npy("<i2", "(2,)", struct.pack("<2h", 1, 0)),
        **changes,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(f"{name}.npy", data)
    return path


def test_a_truth_of_format_1_is_read_and_commits_as_it_did(tmp_path):
    truth = Truth.read(format_1(tmp_path / "a.truth.npz"))
    assert truth.nsd_id is None
    assert truth.responses.tolist() == [[0.5, -1.25], [3, 0.125], [-0.75, 2]]
    assert truth.trial_idx.tolist() == ["0c" * 16, "0a" * 16, "0b" * 16]
    assert truth.roi_names == {"visual": {1: "V1"}}
    assert truth.commitments() == COMMITTED_IN_FORMAT_1
    truth.write(tmp_path / "again.truth.npz")
    again = Truth.read(tmp_path / "again.truth.npz")
    assert (again.nsd_id, again.commitments()) == (None, COMMITTED_IN_FORMAT_1)


def test_a_season_begun_with_format_1_is_revealed(tmp_path):
    path = format_1(tmp_path / "a.truth.npz")
    package = tiny.make_package(tmp_path, "track1")
    manifest = json.loads((package / "manifest.json").read_text())
    (package / "manifest.json").write_text(json.dumps(manifest | {"commitments": COMMITTED_IN_FORMAT_1}))
    done = CliRunner().invoke(reveal, [str(path), str(package)])
    assert (done.exit_code, done.output) == (
        0,
        "test: the 2 responses are those that tiny-subj02 committed to\n"
        "final_test: the 1 responses are those that tiny-subj02 committed to\n",
    )


def test_format_2_keeps_and_binds_nsd_id(tmp_path):
    truth = replace(salted(), nsd_id=np.arange(18) + 40_000)
    truth.write(tmp_path / "t.truth.npz")
    with zipfile.ZipFile(tmp_path / "t.truth.npz") as archive:
        header = json.loads(str(np.load(io.BytesIO(archive.read("header.npy")))))
    assert header["format"] == "nsd_bench.truth/2"
    again = Truth.read(tmp_path / "t.truth.npz")
    assert again.nsd_id is not None
    np.testing.assert_array_equal(again.nsd_id, truth.nsd_id)
    promised = truth.commitments()
    assert again.commitments() == promised
    for other in (replace(truth, nsd_id=truth.nsd_id + 1), replace(truth, nsd_id=None)):
        assert all(other.commitments()[tier] != digest for tier, digest in promised.items())


def test_nsd_id_goes_with_its_trials(tmp_path):
    truth = replace(salted(), nsd_id=np.arange(18) + 40_000)
    rows = np.array([5, 2, 11])
    part = truth.of_trials(rows)
    assert part.nsd_id is not None
    assert part.nsd_id.tolist() == [40_005, 40_002, 40_011]
    np.testing.assert_array_equal(part.salt, truth.salt[rows])
    np.testing.assert_array_equal(part.responses, truth.responses[rows])
    assert replace(truth, nsd_id=None).of_trials(rows).nsd_id is None


def test_open_packages_know_nsd_id_and_withholding_ones_do_not(tmp_path):
    truth = load_truth(tiny.make_package(tmp_path / "open"))
    assert truth.nsd_id is not None
    np.testing.assert_array_equal(truth.nsd_id, tiny.IMAGE_OF_TRIAL[6:])
    closed = Package(tiny.make_package(tmp_path / "closed", "track1"))
    assert Truth.of_rows(closed, closed.rows("validation")).nsd_id is None


def test_the_exporter_writes_the_nsd_id_of_every_withheld_trial(opened, track1):
    """The open package of the same trials says, by response, which image each showed."""
    truth = Truth.read(f"{track1.path}.truth.npz")
    assert truth.nsd_id is not None
    rows = np.flatnonzero(np.isin(opened.tiers, ["test", "final_test"]))
    of_response = {
        response.tobytes(): nsd_id
        for response, nsd_id in zip(opened.responses(rows), opened.trials["nsd_id"].iloc[rows], strict=True)
    }
    assert [of_response[response.tobytes()] for response in truth.responses] == truth.nsd_id.tolist()


def header_of(number: int) -> bytes:
    header = {"format": f"nsd_bench.truth/{number}", "package": "p", "subject": 1, "manifest_sha256": ""}
    return text(json.dumps(header))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"header": header_of(3)}, "its format is 'nsd_bench.truth/3'"),
        ({"header": header_of(2)}, "there is no 'nsd_id' in it"),
        (
            {"header": header_of(2), "nsd_id": npy("<i8", "(2,)", struct.pack("<2q", 1, 2))},
            "nsd_id has shape (2,), responses (3, 2)",
        ),
    ],
)
def test_formats_that_are_none(tmp_path, changes, problem):
    path = format_1(tmp_path / "a.truth.npz", **changes)
    with pytest.raises(PackageError) as caught:
        Truth.read(path)
    assert str(caught.value).startswith(f"{path}: not a truth file ({problem}).\n")

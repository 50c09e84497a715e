"""Model files: refused when anything about them is wrong, and never unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
import safetensors.numpy

from nsd_bench.errors import ModelError
from nsd_bench.models.model_files import MODEL_FORMAT, card_file, read_card
from nsd_bench.models.zoo import BASELINES, load_model, save_model
from nsd_bench.package.read import Package
from nsd_bench.package.storage import sha256_file


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return BASELINES["mean"].fit(Package(tiny.make_package(tmp_path_factory.mktemp("zoo"))))


@pytest.fixture
def saved(model, tmp_path) -> Path:
    path = tmp_path / "zoo" / "m.safetensors"
    save_model(model, path)
    return path


def change_head(saved: Path, **changes) -> None:
    head = json.loads(card_file(saved).read_bytes())
    card_file(saved).write_text(json.dumps(head | changes))


def put_tensors(saved: Path, data: bytes) -> None:
    """Replace the tensors, and the digest with them, as somebody would who means harm."""
    saved.write_bytes(data)
    change_head(saved, tensors_sha256=sha256_file(saved))


def refused(saved: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(saved)
    return str(caught.value)


def test_other_programs_can_read_both_files(model, saved):
    tensors = safetensors.numpy.load_file(saved)
    assert tensors["unit_ids"].tolist() == tiny.UNIT_IDS.tolist()
    head = json.loads(card_file(saved).read_bytes())
    assert head["format"] == MODEL_FORMAT
    assert head["card"] == model.card == read_card(saved)
    assert sorted(file.name for file in saved.parent.iterdir()) == ["m.json", "m.safetensors"]


@pytest.mark.parametrize("missing", ["m.safetensors", "m.json"])
def test_half_a_model(saved, missing):
    (saved.parent / missing).unlink()
    assert refused(saved) == (
        f"{saved.parent / missing}: there is no such model.\n"
        "  Expected: NAME.safetensors with NAME.json beside it.\n"
        "  What to do: check the path, or train it again."
    )


def test_a_card_is_no_model(saved):
    assert refused(card_file(saved)).startswith(f"{card_file(saved)}: there is no such model.")


@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_cut_off(saved, keep):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * keep) if keep >= 0 else keep])
    assert refused(saved) == (
        f"{saved}: its digest is not the one in its card.\n"
        "  Expected: the file that was written with this card.\n"
        "  What to do: check the path, or train it again."
    )


def test_one_changed_byte(saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "its digest is not the one in its card" in refused(saved)


@pytest.mark.parametrize(
    ("head", "problem", "expected"),
    [
        ({"format": "nsd_bench.model/9"}, "has format 'nsd_bench.model/9'", "format 'nsd_bench.model/2'"),
        ({"card": [1]}, "has no card or no digest", "'card' and 'tensors_sha256'"),
    ],
)
def test_card_of_another_version(saved, head, problem, expected):
    change_head(saved, **head)
    assert refused(saved) == (
        f"{card_file(saved)}: {problem}.\n"
        f"  Expected: {expected}.\n"
        "  What to do: check the path, or train it again."
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "nothing"])
def test_card_that_is_none(saved, text):
    card_file(saved).write_text(text)
    assert refused(saved).startswith(f"{card_file(saved)}: ")


def test_unknown_kind(model, saved):
    change_head(saved, card=model.card | {"kind": "cnns"})
    assert refused(saved) == (
        f"{saved}: is of kind 'cnns'.\n"
        "  Expected: one of 'linear', 'fwrf', 'cnn', 'repeat-oracle' (did you mean 'cnn'?).\n"
        "  What to do: check the path, or train it again."
    )


def test_tensors_must_agree(model, saved):
    tensors = model.tensors() | {"intercept": model.intercept[:-1]}
    put_tensors(saved, safetensors.numpy.save(tensors))
    assert "not a model (weights of 0 features x 5 units beside arrays of shapes" in refused(saved)
    del tensors["intercept"]
    put_tensors(saved, safetensors.numpy.save(tensors))
    assert refused(saved).startswith(f"{saved}: not a model (there is no 'intercept' in it).")


class Harm:
    def __reduce__(self):
        return Path.touch, (Path("harm"),)


def test_nothing_is_unpickled(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    put_tensors(saved, pickle.dumps({"weights": Harm()}))
    assert "not a model (Error while deserializing header" in refused(saved)
    assert not Path("harm").exists()


def test_names_of_models(model, tmp_path):
    with pytest.raises(ModelError) as caught:
        save_model(model, tmp_path / "m.npz")
    assert str(caught.value) == (
        f"{tmp_path}/m.npz: cannot be the name of a model: it ends in '.npz'.\n"
        "  Expected: NAME.safetensors; the card lies beside it as NAME.json.\n"
        "  What to do: correct the name."
    )


def test_a_card_that_is_not_json_leaves_nothing(model, tmp_path):
    model.card["nan"] = float("nan")
    try:
        with pytest.raises(ModelError, match="the card cannot be written as JSON"):
            save_model(model, tmp_path / "m.safetensors")
    finally:
        del model.card["nan"]
    assert list(tmp_path.iterdir()) == []


def test_tensors_come_back_with_dtype_and_shape(saved, model):
    for name, tensor in load_model(saved).tensors().items():
        assert (tensor.dtype, tensor.shape) == (model.tensors()[name].dtype, model.tensors()[name].shape)
        np.testing.assert_array_equal(tensor, model.tensors()[name])

"""A small simulated NSD and the packages made of it, once per test session."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from nsd_bench.package.read import Package

SHAPE = (11, 13, 9)
SESSIONS = (2, 1)

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("nsd_bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nsd_bench")


@pytest.fixture(scope="session")
def nsd_root(tmp_path_factory) -> Path:
    from exporters.simulate import simulate

    root = tmp_path_factory.mktemp("simulated") / "nsd"
    simulate(root, subjects=(1, 3), sessions=SESSIONS, shape=SHAPE, seed=3, progress=False)
    return root


@pytest.fixture(scope="session")
def opened(nsd_root, tmp_path_factory) -> Package:
    """Subject 1's open package in percent signal change: to be read, not changed."""
    from exports import export

    return export(nsd_root, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="session")
def track1(nsd_root, tmp_path_factory) -> Package:
    """The same, withholding its test tiers and all behaviour: to be read, not changed."""
    from exports import export

    return export(nsd_root, tmp_path_factory.mktemp("track1"), kind="track1")


@pytest.fixture
def nsd_copy(nsd_root, tmp_path) -> Path:
    """A tree whose files a test may remove or replace (not change in place: they are links)."""
    import shutil

    copy = tmp_path / "nsd"
    shutil.copytree(nsd_root, copy, copy_function=_link)
    return copy


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)

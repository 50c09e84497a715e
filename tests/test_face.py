"""What `import nsd_bench` offers: the same names for people, tab completion, help and type checkers."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import mypy.api
import pytest

import nsd_bench

ROOT = Path(__file__).parents[1]
TYPED = """
import nsd_bench

package = nsd_bench.open("packages/nsd-subj01.zip")
reveal_type(package)
reveal_type(package.dataloaders(batch_size=64))
reveal_type(nsd_bench.train(package, "gabor-ridge"))
reveal_type(nsd_bench.__version__)
nsd_bench.opne("x")
"""


def test_every_name_is_there_and_explains_itself():
    for name in set(nsd_bench.__all__) - {"__version__"}:
        thing = getattr(nsd_bench, name)
        assert inspect.getdoc(thing), name
        assert "Parameters\n----------" in inspect.getdoc(thing), name
        assert thing.__module__.startswith("nsd_bench."), name


def test_the_stub_has_the_same_names():
    stub = ast.parse((ROOT / "nsd_bench/__init__.pyi").read_text())
    homes = {
        alias.asname: (node.module, alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert homes == nsd_bench._HOME


def test_dir_and_stars_show_the_same_names():
    assert set(nsd_bench.__all__) <= set(dir(nsd_bench))
    names: dict[str, object] = {}
    exec("from nsd_bench import *", names)
    assert set(nsd_bench.__all__) <= names.keys()


def test_a_misspelt_name_is_told_which_there_are():
    with pytest.raises(
        AttributeError, match=f"no attribute 'opne'; it offers {', '.join(nsd_bench.__all__)}$"
    ):
        nsd_bench.opne  # noqa: B018


def test_tab_completion_sees_them():
    code = (
        "import rlcompleter, nsd_bench\n"
        "complete = rlcompleter.Completer({'nsd_bench': nsd_bench}).complete\n"
        "print([complete('nsd_bench.', n) for n in range(60)])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"nsd_bench.{name}" in found for name in nsd_bench.__all__ if not name.startswith("_"))


def test_type_checkers_know_what_open_and_train_return(tmp_path):
    (tmp_path / "user.py").write_text(TYPED)
    out, problems, status = mypy.api.run(
        ["--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(tmp_path / "user.py")]
    )
    lines = [line.split(": ", 2)[2] for line in out.splitlines() if "user.py" in line]
    assert status == 1 and not problems, out
    assert lines[0].startswith('Revealed type is "nsd_bench.') and "Package" in lines[0]
    assert "DataLoader" in lines[1]
    assert "Model" in lines[2]
    assert lines[3].endswith('str"')
    assert lines[4].startswith('Module has no attribute "opne"')
    assert len(lines) == 5

"""The house keeps its shape: light import, lazy commands, one way in, and what the README says is true."""

from __future__ import annotations

import ast
import configparser
import graphlib
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner

import nsd_bench
from nsd_bench.cli import COMMANDS, cli, load_command

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "nibabel", "h5py", "matplotlib", "pandas", "sklearn", "skimage", "exporters", "tiers")


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return set(subprocess.check_output([sys.executable, "-c", script], text=True).split())


def test_import_is_light():
    assert modules_after("import nsd_bench") == set()


def test_scoring_needs_neither_torch_nor_nsds_files():
    loaded = modules_after(
        "import nsd_bench.scoring, nsd_bench.package, nsd_bench.package.validate, nsd_bench.package.truth"
    )
    assert not loaded & {"torch", "nibabel", "h5py", "exporters", "tiers", "matplotlib"}


def test_opening_a_package_needs_no_torch():
    assert not modules_after("import nsd_bench; nsd_bench.open") & {"torch", "nibabel", "exporters"}


def test_help_lists_every_command_and_stays_light():
    result = CliRunner().invoke(cli, ["--help"])
    assert all(f"  {name} " in result.output for name in COMMANDS)
    assert (
        modules_after("from nsd_bench.cli import cli\nfrom nsd_bench.cli.train import train_command") == set()
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: cli {name} ")


def test_every_file_of_the_command_line_holds_commands():
    files = {path.stem for path in (ROOT / "nsd_bench/cli").glob("*.py")}
    homes = {getattr(load_command(name).callback, "__module__", "") for name in COMMANDS}
    assert {f"nsd_bench.cli.{name}" for name in files - {"__init__", "options"}} == homes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scroe"], "No such command 'scroe'. Did you mean 'score'? 'nsd-bench --help' lists all."),
        (
            ["tiers", "aduit"],
            "No such command 'aduit'. Did you mean 'audit'? 'nsd-bench tiers --help' lists all.",
        ),
        (["qqq"], "No such command 'qqq'. 'nsd-bench --help' lists all."),
    ],
)
def test_a_misspelt_command_is_told_the_nearest(words, said):
    result = CliRunner().invoke(cli, words, prog_name="nsd-bench")
    assert result.exit_code == 2
    assert said in result.output


FAULTY = "import sys\nfrom nsd_bench import cli\ncli.load_command = lambda name: 1 / 0\ncli.main()"


def test_a_fault_of_ours_is_three_lines_and_says_so():
    result = subprocess.run(
        [sys.executable, "-c", FAULTY, "info", "x"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (70, "")
    assert result.stderr == (
        f"Error: a fault of nsd-bench {nsd_bench.__version__} itself, not of yours: "
        "ZeroDivisionError: division by zero\n"
        "  Nothing half-written was left under the name that you gave.\n"
        "  What to do: run it again with --debug, and report what that prints, with the command.\n"
    )


def test_debug_shows_where_a_fault_is():
    result = subprocess.run(
        [sys.executable, "-c", FAULTY, "info", "--debug", "x"], capture_output=True, text=True, check=False
    )
    assert result.stderr.startswith("Traceback") and "lambda" in result.stderr


def test_the_command_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "nsd_bench", "--version"], capture_output=True, text=True, check=False
    )
    assert result.stdout == f"nsd-bench, version {nsd_bench.__version__}\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsd_bench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_errors_are_shown_without_a_traceback():
    result = run("validate", "nowhere")
    assert result.returncode == 1
    assert result.stderr == (
        "Error: PackageError: nowhere: there is no such file or folder.\n"
        "  Expected: a package: a folder with data/ and meta/, or its zip.\n"
        "  What to do: check the path, or make one with 'nsd-bench export'.\n"
    )


def test_wrong_command_lines_exit_with_2():
    assert run("export").returncode == 2
    wrong = run("simulate", "x", "--subjects", "one")
    assert wrong.returncode == 2
    assert "'one' is neither a list like 1,2,5 nor a range like 1-8" in wrong.stderr


def test_readmes_commands_exist():
    text = (ROOT / "README.md").read_text()
    used = set(re.findall(r"nsd-bench ([a-z]+[a-z-]*[a-z])", text))
    assert used <= COMMANDS.keys()
    for line in re.findall(r"^nsd-bench .*$", text, flags=re.MULTILINE):
        name = line.split()[1]
        options = re.findall(r"--[a-z-]+", line.split("#")[0])
        explained = CliRunner().invoke(cli, [name, "--help"]).output
        assert all(option in explained for option in options), line


def test_readmes_folders_exist():
    for folder in re.findall(r"^\| `([^`*]+/)` \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


def test_modules_stay_readable():
    for room in ("nsd_bench", "exporters", "tiers"):
        for path in (ROOT / room).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 700, path


MODULES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for room in ("nsd_bench", "exporters", "tiers")
    for path in (ROOT / room).rglob("*.py")
}


def imports_of(path: Path) -> set[str]:
    """Our modules that a module imports: at its head, inside of functions, and for type checkers only."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{name.name}" for name in node.names} & MODULES.keys()
            named |= inner or {node.module}
        elif isinstance(node, ast.Import):
            named |= {name.name for name in node.names}
    return named & MODULES.keys()


def test_no_circle_of_imports():
    graph = {name: imports_of(path) - {name} for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # its CycleError names the circle


def test_an_import_for_type_checkers_counts(tmp_path):
    (tmp_path / "x.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tiers.rules import Rule\n"
        "def late():\n    from nsd_bench import errors\n    import exporters.nsd.design\n"
    )
    assert imports_of(tmp_path / "x.py") == {"tiers.rules", "nsd_bench.errors", "exporters.nsd.design"}


def test_one_head_holds_the_house():
    assert len(MODULES) <= 300
    assert len({path.parent for path in MODULES.values() if path.name == "__init__.py"}) <= 24


def test_file_names_tell_files_apart():
    names = Counter(path.name for path in MODULES.values() if path.name != "__init__.py")
    assert not {name for name, n in names.items() if n > 3}


def test_a_class_name_stands_once():
    classes = Counter(
        node.name
        for path in MODULES.values()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, n in classes.items() if n > 1} == set()


def test_another_projects_exporters_is_named(monkeypatch):
    import exporters
    from nsd_bench.cli.options import check_exporters
    from nsd_bench.errors import NsdBenchError

    check_exporters()
    monkeypatch.setattr(exporters, "PROJECT", "another")
    with pytest.raises(NsdBenchError, match="the package 'exporters' is another project's"):
        check_exporters()


def test_a_busy_machine_fails_no_property():
    assert hypothesis.settings().deadline is None
    own = [path.name for path in (ROOT / "tests").glob("test_*.py") if "deadline=" in path.read_text()]
    assert own == [Path(__file__).name]


def test_rooms_are_installed():
    assert all(find_spec(room) for room in ("nsd_bench", "exporters", "tiers"))


def test_every_file_of_the_rooms_is_in_a_wheel():
    """Modules of packages are found; setup.cfg names all else, by the package that it lies in or below."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = {package: text.split() for package, text in config["options.package_data"].items()}
    files = subprocess.check_output(
        ["git", "ls-files", "nsd_bench", "exporters", "tiers"], cwd=ROOT, text=True
    )
    for name in map(Path, files.splitlines()):
        package = next(folder for folder in name.parents if (ROOT / folder / "__init__.py").is_file())
        if name.suffix == ".py" and package == name.parent:
            continue
        patterns = named.get(".".join(package.parts), [])
        assert any(name.match(f"{package.as_posix()}/{pattern}") for pattern in patterns), name

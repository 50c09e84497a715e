"""Every public callable says what it takes: a section Parameters that names each argument."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

Callable = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def named(node: Callable) -> set[str]:
    """Find what the section Parameters of a docstring names, or Attributes of a class."""
    titles = "Parameters|Attributes" if isinstance(node, ast.ClassDef) else "Parameters"
    section = rf"^(?:{titles})\n-{{3,}}\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)"
    sections = re.findall(section, ast.get_docstring(node) or "", flags=re.MULTILINE | re.DOTALL)
    heads = (line.split(":")[0] for text in sections for line in text.splitlines() if line[:1].strip())
    return {name.strip().lstrip("*") for head in heads for name in head.split(",")}


def arguments(node: Callable) -> list[str]:
    """List what a function takes, or what makes an object of a class: arguments of __init__, or fields."""
    if isinstance(node, ast.ClassDef):
        inits = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return arguments(inits[0])[1:] if inits else list(fields(node))
    taken = node.args
    every = [*taken.posonlyargs, *taken.args, taken.vararg, *taken.kwonlyargs, taken.kwarg]
    return [one.arg for one in every if one is not None and not one.arg.startswith("_")]


def fields(node: ast.ClassDef) -> Iterator[str]:
    bases = "".join(map(ast.unparse, node.bases))
    makes_fields = decorated(node, "dataclass") or (bases and "Protocol" not in bases)
    for one in node.body if makes_fields else ():
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            said = f"{ast.unparse(one.annotation)} {ast.unparse(one.value) if one.value else ''}"
            if not one.target.id.startswith("_") and "ClassVar" not in said and "init=False" not in said:
                yield one.target.id


def decorated(node: Callable, *words: str) -> bool:
    return any(re.search(rf"\b{word}\b", ast.unparse(one)) for one in node.decorator_list for word in words)


def public(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, Callable, list[str]]]:
    """Yield name, node and arguments of the public callables in a module or class.

    Commands are left out: what `--help` says of their options is what a user reads.
    """
    for node in body:
        if not isinstance(node, Callable) or node.name.startswith("_") or decorated(node, "overload"):
            continue
        if decorated(node, "command", "group"):
            continue
        names = arguments(node)
        if owner and not decorated(node, "staticmethod"):
            names = names[1:]
        if names:
            yield owner + node.name, node, names
        if isinstance(node, ast.ClassDef):
            yield from public(node.body, f"{node.name}.")


def lacking(text: str) -> list[str]:
    found = public(ast.parse(text).body)
    return [
        f"{name}: {', '.join(missing)}"
        for name, node, names in found
        if (missing := [one for one in names if one not in named(node)])
    ]


ROOMS = sorted(
    {
        path.parent.relative_to(ROOT).as_posix()
        for top in ("nsd_bench", "exporters", "tiers")
        for path in (ROOT / top).rglob("*.py")
    }
)


@pytest.mark.parametrize("room", ROOMS)
def test_parameters_are_named(room):
    found = {path.name: lacking(path.read_text()) for path in sorted((ROOT / room).glob("*.py"))}
    lines = [f"{file}: {one}" for file, ones in found.items() for one in ones]
    assert not lines, "\n".join(lines)


WRONG = '''
class Public:
    """Do.

    Parameters
    ----------
    a, b
        Both.
    """

    def __init__(self, a, b, *, c):
        """Start."""

    def method(self, x, *rest):
        """Do.

        Parameters
        ----------
        x : int array of shape (n,)
            See `y`.

        Returns
        -------
        rest
            Not a parameter.
        """

    @staticmethod
    def still(z):
        """Do."""


@dataclass(frozen=True)
class Fields:
    """Hold."""

    one: int
    two: ClassVar[int] = 0
    three: int = field(init=False)


def function(plain, **options):
    """Do.

    Parameters
    ----------
    plain
        What.
    **options
        More.
    """


def _private(y):
    """Do."""


@click.command
def command(y):
    """Do."""
'''


def test_what_is_lacking_is_found():
    assert lacking(WRONG) == ["Public: c", "Public.method: rest", "Public.still: z", "Fields: one"]


MODULES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for top in ("nsd_bench", "exporters", "tiers")
    for path in (ROOT / top).rglob("*.py")
}


def holds(module: str, names: list[str]) -> bool:
    """Whether a module binds a name, and the names after it are of its class."""
    if module == "nsd_bench":  # loads its names when they are asked for: test_architecture.py looks at them
        return True
    tree: ast.AST = ast.parse(MODULES[module].read_text())
    for name in names:
        found = [
            node
            for node in ast.walk(tree)
            if name == getattr(node, "name", None)
            or name in {getattr(node, "id", None), getattr(node, "asname", None)}
        ]
        if not found:
            return False
        tree = found[0]
    return True


def leads_somewhere(reference: str) -> bool:
    """Whether a dotted name is a module's, or that of something in one."""
    parts = reference.split(".")
    known = [n for n in range(1, len(parts) + 1) if ".".join(parts[:n]) in MODULES]
    return bool(known) and holds(".".join(parts[: known[-1]]), parts[known[-1] :])


def test_what_texts_refer_to_is_there():
    """In docstrings and documents: dotted names in backticks."""
    texts = [*MODULES.values(), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    dotted = re.compile(r"`((?:nsd_bench|exporters|tiers)(?:\.[A-Za-z_]\w*)+)`")
    wrong = {
        f"{path.relative_to(ROOT)}: {reference}"
        for path in texts
        for reference in dotted.findall(path.read_text())
        if not reference.endswith((".toml", ".json", ".md")) and not leads_somewhere(reference)
    }
    assert not wrong


def test_a_name_that_is_not_there_is_found():
    assert leads_somewhere("exporters.nsd.volumes.Grid.n_units")
    assert leads_somewhere("tiers.audit")
    for wrong in ("exporters.nsd.volumes.Gird", "exporters.nsd.volumes.Grid.n_voxels", "tiers.nowhere"):
        assert not leads_somewhere(wrong)

"""What every export says of its origin: NSD's terms and citation, and the digest of the code that made it.

Which code decides an export's bytes is found by following imports, not kept by hand.
"""

from __future__ import annotations

import ast
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from nsd_bench.package.storage import sha256_file

__all__ = [
    "CITATION",
    "NOT_FOLLOWED",
    "TERMS_URL",
    "Digests",
    "data_files",
    "deciding_modules",
    "imported_by",
    "source_digest",
]

CITATION: Final = (
    "Allen, St-Yves, Wu et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and "
    "artificial intelligence. Nature Neuroscience 25, 116-126. doi:10.1038/s41593-021-00962-x"
)
TERMS_URL: Final = "https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions"

_PROJECT: Final = Path(__file__).parents[2]
_ROOMS: Final = ("exporters", "nsd_bench", "tiers")
_FILE_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)+")

_READS: Final = "reads packages that are there, not the one that is made"
NOT_FOLLOWED: Final[dict[tuple[str, str], str]] = {
    ("*", "nsd_bench"): "its version, which manifests say by itself",
    ("*", "nsd_bench.errors"): "what errors say; an export that fails leaves nothing",
    ("*", "exporters.packages.pool"): "where sessions are read, not what is read",
    ("*", "exporters.packages.work"): "locks, and room on the disk",
    ("exporters.packages.export", "nsd_bench.package.read"): "counts what was made, to report it",
    (
        "exporters.packages.recipe",
        "nsd_bench.package.sealing",
    ): "which columns are refused: such an export makes nothing",
    ("nsd_bench.package.truth", "nsd_bench.package.read"): _READS,
    ("tiers.rewrite.renormalise", "nsd_bench.package.read"): _READS,
    ("nsd_bench.package.keys", "nsd_bench.package.read"): _READS,
    ("nsd_bench.package.keys", "nsd_bench.package.truth"): _READS,
}
"""Who imports whom without that deciding any byte ("*" is everybody), and why."""


@cache
def source_digest(entry: str) -> str:
    """Return the digest of the code that decides an export's bytes.

    That is of `deciding_modules` and of `data_files`. Of a module the tokens count, without comments,
    docstrings and layout: not its file, which a comment changes; not its syntax tree or compiled code, which
    are other ones in every version of Python. A checkout and an install have the same digest.

    Parameters
    ----------
    entry
        Module that makes the export, such as "exporters.packages.export".

    Returns
    -------
    sha256 : 64 hex characters
    """
    digests = {name: _read(path).sha256 for name, path in deciding_modules(entry).items()}
    digests |= {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in data_files(entry).items()
    }
    lines = (f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def deciding_modules(entry: str) -> dict[str, Path]:
    """Return what a module imports of this project, directly or not, and itself: name to file.

    Imports inside functions count, those for type checkers do not. What a room's `__init__` only passes on
    is looked up where it comes from: the rest of that room is not drawn in. `NOT_FOLLOWED` is left out.

    Parameters
    ----------
    entry
        Module that makes the export.
    """
    found: dict[str, Path] = {}
    todo = [entry]
    while todo:
        name = todo.pop()
        path = _file(name)
        if name in found or path is None:
            continue
        found[name] = path
        todo += (
            other for other in imported_by(path) if not {(name, other), ("*", other)} & NOT_FOLLOWED.keys()
        )
    return dict(sorted(found.items()))


def data_files(entry: str) -> dict[str, Path]:
    """Return the files that deciding modules name and that lie beside them or in a room above them.

    Parameters
    ----------
    entry
        Module that makes the export.
    """
    found = {}
    for path in deciding_modules(entry).values():
        for folder in path.parents[: len(path.relative_to(_PROJECT).parts) - 1]:
            for name in _read(path).file_names:
                if (file := folder / name).suffix != ".py" and file.is_file():
                    found[file.relative_to(_PROJECT).as_posix()] = file
    return found


def imported_by(path: Path) -> set[str]:
    """Return the modules of the project that a module's code imports.

    Parameters
    ----------
    path
        File of the module.
    """
    return {home for module, name in _read(path).imports if _file(home := _home(module, name)) is not None}


@cache
def _file(module: str) -> Path | None:
    """Return the file of one of the project's modules; None if it is none."""
    if module.partition(".")[0] not in _ROOMS:
        return None
    path = _PROJECT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _home(module: str, name: str) -> str:
    """Return the module that `name`, imported from `module`, comes from; "" stands for the module itself."""
    path = _file(module)
    if not name or path is None or path.name != "__init__.py":
        return module
    if _file(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    return next(
        (_home(other, original) for other, original, bound in _read(path).passed_on if bound == name), module
    )


@dataclass(frozen=True)
class _Code:
    """What counts of a module's text.

    Parameters
    ----------
    imports
        Module, and name from it or "".
    passed_on
        Of the module's own imports: module, name there, name here.
    file_names
        Texts in it that may be names of files.
    sha256
        Of its tokens.
    """

    imports: frozenset[tuple[str, str]]
    passed_on: tuple[tuple[str, str, str], ...]
    file_names: frozenset[str]
    sha256: str


def _read(path: Path) -> _Code:
    return _parsed(path.read_text(encoding="utf-8"))


@cache
def _parsed(text: str) -> _Code:
    tree = ast.parse(text)
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    imports: set[tuple[str, str]] = set()
    texts: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
        elif id(node) in for_checkers:
            continue
        elif isinstance(node, ast.Import):
            imports |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {(node.module, alias.name) for alias in node.names}
    passed_on = tuple(
        (node.module, alias.name, alias.asname or alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    )
    file_names = frozenset(filter(_FILE_NAME.fullmatch, texts))
    return _Code(frozenset(imports), passed_on, file_names, hashlib.sha256(_tokens(text)).hexdigest())


def _tokens(source: str) -> bytes:
    """Return a module's tokens, but for comments, docstrings and layout."""
    return "\0".join(word for statement in _statements(source) for word in statement).encode()


def _statements(source: str) -> Iterator[list[str]]:
    """Yield the words of every line of code; blocks begin and end with a word of their own.

    Formatted strings are one word: Python takes them apart since 3.12.
    """
    lines = source.splitlines(keepends=True)
    words: list[str] = []
    formatted: list[tuple[int, int]] = []  # where those begin that have not ended
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        if kind in {"FSTRING_START", "TSTRING_START"}:
            formatted.append(token.start)
        elif kind in {"FSTRING_END", "TSTRING_END"}:
            start = formatted.pop()
            if not formatted:
                words.append(_between(lines, start, token.end))
        elif formatted or kind in {"COMMENT", "NL", "ENDMARKER"}:
            continue
        elif kind in {"INDENT", "DEDENT"}:
            yield [kind]
        elif kind != "NEWLINE":
            words.append(token.string)
        else:
            # A text alone is a docstring, or the description of a constant.
            if len(words) > 1 or not words[0].endswith(("'", '"')):
                yield [*words, kind]
            words = []


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text from one place to another: lines counted from 1, characters from 0."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    inner = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *inner, lines[end[0] - 1][: end[1]]])


class Digests:
    """Digests of everything that was read from NSD, by path below its root.

    Small files are digested whole; of betas and images, whose files are large and only partly used, the
    values that were read.

    Parameters
    ----------
    root
        Folder with NSD, whose path no digest names.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, dict[str, str]] = {}

    def add_file(self, path: Path) -> None:
        """Digest a whole file of NSD; one outside its root goes by its name.

        Parameters
        ----------
        path
            The file.
        """
        name = path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.name
        self.add_given(name, path)

    def add_given(self, name: str, path: Path) -> None:
        """Digest a whole file that was given by its path: where it lies is not told.

        Parameters
        ----------
        name
            What it is called in the manifest.
        path
            The file.
        """
        self._found[name] = {"of": "file", "sha256": sha256_file(path)}

    def of(self, name: str) -> str:
        """Return the digest that was found under a name, 64 hex characters.

        Parameters
        ----------
        name
            As in `listed`.
        """
        return self._found[name]["sha256"]

    def add_values(self, paths: Sequence[Path], sha256: str) -> None:
        """Note the digest of what was read from a file, or from one per hemisphere.

        Parameters
        ----------
        paths
            The files, below NSD's root.
        sha256
            Digest of the values, 64 hex characters.
        """
        name = " + ".join(path.relative_to(self._root).as_posix() for path in paths)
        self._found[name] = {"of": "values read", "sha256": sha256}

    def listed(self) -> dict[str, dict[str, str]]:
        """Return path to digest, sorted."""
        return dict(sorted(self._found.items()))

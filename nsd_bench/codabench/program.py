"""The scoring program: this very scorer as source, and the one pure-Python package that it needs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import files
from importlib.resources import files as resources
from pathlib import Path
from typing import Final

from nsd_bench.codabench.columns import Column
from nsd_bench.codabench.season import Phase
from nsd_bench.errors import OutputError

__all__ = ["scoring_program"]

_COMMANDS: Final = ("__init__", "score", "shared/__init__", "shared/inputs")
_CLICK: Final = "click"


def scoring_program(phase: Phase, live_step: float, columns: Iterable[Column]) -> dict[str, bytes]:
    """Return the files of a phase's scoring program; it needs Python 3.11, numpy and scipy."""
    step = f" {live_step:g}" if phase.live else ""
    command = f"python3 /app/program/score.py /app/input /app/output {phase.tier}{step}"
    own = Path(str(resources("nsd_bench.codabench"))) / "bundle" / "score.py"
    return {
        "metadata.yaml": f"command: {command}\n".encode(),
        "score.py": own.read_bytes(),
        "columns.json": json.dumps([asdict(column) for column in columns], indent=1).encode() + b"\n",
        **_scorer(),
        **_click(),
    }


def _scorer() -> dict[str, bytes]:
    """Return the source of the scorer: what reads packages, what scores, and its command."""
    room = Path(str(resources("nsd_bench")))
    commands = [room / "cli" / f"{name}.py" for name in _COMMANDS]
    sources = [*room.glob("*.py"), *(room / "scoring").rglob("*.py"), *commands]
    return {f"nsd_bench/{path.relative_to(room).as_posix()}": path.read_bytes() for path in sorted(sources)}


def _click() -> dict[str, bytes]:
    """Return click's modules and its licence, as they are installed."""
    found = {
        str(path): Path(str(path.locate())).read_bytes()
        for path in files(_CLICK) or ()
        if (path.parts[0] == _CLICK and path.suffix == ".py") or "licen" in path.name.lower()
    }
    if f"{_CLICK}/__init__.py" not in found:
        raise OutputError(
            "the files of click are not listed where it is installed",
            place="scoring program",
            expected="click as pip installs it",
            fix="run 'pip install --force-reinstall click'",
        )
    return found

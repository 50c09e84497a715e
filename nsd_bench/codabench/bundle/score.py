"""Scoring program: runs nsd-bench's own scorer, offline, as Codabench's worker starts it.

Arguments: the input folder (truth below ref/, the submission below res/), the output folder, the tier, and
for a live phase the step to whose multiples scores are rounded.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

# This folder holds nsd_bench and click; the image has numpy and scipy.
SUFFIX = ".submission.npz"
FULL_SCORES = "nsd_bench.scores.json"


def main(arguments: list[str]) -> int:
    """Score; return 0, or 1 if the submission is wrong."""
    source, output, tier = Path(arguments[0]), Path(arguments[1]), arguments[2]
    step = float(arguments[3]) if len(arguments) > 3 else None
    output.mkdir(parents=True, exist_ok=True)
    error = importlib.import_module("nsd_bench.errors").NsdBenchError
    command = importlib.import_module("nsd_bench.cli.score").command
    table = io.StringIO()
    scores = output / FULL_SCORES
    words = [str(_submissions(source / "res")), str(source / "ref"), "--out", str(scores), "--tier", tier]
    try:
        with contextlib.redirect_stdout(table):
            command.main(words, standalone_mode=False)
    except error as problem:
        _page(output, "This submission could not be scored", str(problem))
        sys.stderr.write(f"{problem}\n")
        return 1
    columns = json.loads(Path(__file__).with_name("columns.json").read_bytes())
    found = _columns(json.loads(scores.read_bytes())["pooled"], tier, columns, step)
    (output / "scores.json").write_text(json.dumps(found, indent=1) + "\n")
    _page(output, f"Scores on {tier}", table.getvalue() if step is None else _live(found, step))
    return 0


def _submissions(folder: Path) -> Path:
    """Return where submissions lie: some archives put a folder around them."""
    files = [path for path in folder.rglob(f"*{SUFFIX}") if not path.name.startswith("._")]
    parents = {path.parent for path in files}
    return parents.pop() if len(parents) == 1 else folder


def _columns(
    pooled: dict[str, Any], tier: str, columns: list[dict[str, str]], step: float | None
) -> dict[str, float]:
    """Return column to number; what has no score is left out, for 0 would be one."""
    rows = {(row["atlas"], row["roi"]): row["scores"] for row in pooled.get(tier, {"rois": []})["rois"]}
    found: dict[str, float] = {}
    for column in columns if step is None else columns[:1]:
        score = rows.get((column["atlas"], column["roi"]), {}).get(column["metric"])
        value = None if score is None else _part(score, column["part"])
        if value is not None:
            found[column["key"]] = value if step is None else round(round(value / step) * step, 10)
    return found


def _part(score: dict[str, Any], part: str) -> float | None:
    if part == "value" or score["interval"] is None:
        found = score["value"] if part == "value" else None
    else:
        found = score["interval"][part == "high"]
    return None if found is None else float(found)


def _live(found: dict[str, float], step: float) -> str:
    shown = "".join(f"{key}: {value:g}\n" for key, value in found.items()) or "no score\n"
    return f"{shown}rounded to multiples of {step:g} while the phase is live\n"


def _page(output: Path, heading: str, text: str) -> None:
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<h1>{heading}</h1><pre style="overflow-x: auto">{html.escape(text)}</pre></html>\n'
    )
    (output / "detailed_results.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

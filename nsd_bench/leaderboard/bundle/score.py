"""Scoring program: runs nsd-bench's own scorer, offline, as Codabench's worker starts it.

Arguments: the input folder (truth below ref/, the submission below res/), the output folder, the tier, and
for a live phase the step to whose multiples scores are rounded.

Codabench ranks whatever leaves a scores.json behind, an empty one first. So there is one only if every truth
has a complete submission and there is a headline; everything else ends with exit code 1, one fixed line in
the log, which participants may see, and the reason in detailed_results.html.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import io
import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# This folder holds nsd_bench and click; the image has numpy and scipy.
SUFFIX = ".submission.npz"
FULL_SCORES = "nsd_bench.scores.json"
NOT_SCORED = "This submission was not scored; the reason is in its detailed results."


def main(arguments: list[str]) -> int:
    """Score a submission; what goes wrong is said on a page, without a traceback, which might show truths.

    Parameters
    ----------
    arguments
        Folder of Codabench's input, folder for its output, tier, and of a live phase the Ladder's step.

    Returns
    -------
    status
        0, or 1 if there is no score that could rank.
    """
    output = Path(arguments[1]).resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
        _score(Path(arguments[0]), output, arguments[2], float(arguments[3]) if len(arguments) > 3 else None)
    except Exception as problem:  # a traceback might show what is withheld
        with contextlib.suppress(OSError):
            _page(output, "This submission could not be scored", _reason(problem))
        sys.stderr.write(f"{NOT_SCORED}\n")
        return 1
    return 0


def _score(source: Path, output: Path, tier: str, step: float | None) -> None:
    command = importlib.import_module("nsd_bench.cli.score").score_command
    table, scores = io.StringIO(), output / FULL_SCORES
    with tempfile.TemporaryDirectory() as scratch:
        _gather(source / "res", Path(scratch))
        words = [".", str((source / "ref").resolve()), "--complete", "--out", str(scores), "--tier", tier]
        hidden = contextlib.redirect_stderr(io.StringIO())
        with contextlib.chdir(scratch), contextlib.redirect_stdout(table), hidden:
            command.main(words, standalone_mode=False)
    columns = json.loads(Path(__file__).with_name("columns.json").read_bytes())
    full = importlib.import_module("nsd_bench.scoring.scores").Scores.load(scores)
    found = _columns(full.pooled.get(tier), columns, step)
    if columns[0]["key"] not in found:
        raise LookupError("no headline")
    warnings = "".join(f"{warning}\n" for subject in full.subjects for warning in subject.warnings)
    shown = table.getvalue() if step is None else _live(found, step)
    _page(output, f"Scores on {tier}", shown + warnings)
    (output / "scores.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")


def _gather(folder: Path, into: Path) -> None:
    """Link submissions, at whatever depth an archive has them, into one folder."""
    for number, path in enumerate(sorted(folder.rglob(f"*{SUFFIX}"))):
        if path.is_file() and not path.name.startswith("._"):  # which macOS adds
            link = into / path.name
            link = link.with_name(f"{number}-{path.name}") if link.exists() else link
            link.symlink_to(path.resolve())


def _reason(problem: Exception) -> str:
    """Tell what is wrong with a submission; of a fault of the scorer no more than where it is."""
    if "NsdBenchError" in [kind.__name__ for kind in type(problem).__mro__]:
        return str(problem)
    last = traceback.extract_tb(problem.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return f"The scorer stopped: {type(problem).__name__} in {where}. Please tell the organisers."


def _columns(pooled: Any, columns: list[dict[str, str]], step: float | None) -> dict[str, float]:
    """Return column to number; what has no score is left out, for 0 would be one."""
    rows = {(row.atlas, row.roi): row.scores for row in pooled.rois} if pooled else {}
    found: dict[str, float] = {}
    for column in columns if step is None else columns[:1]:
        score = rows.get((column["atlas"], column["roi"]), {}).get(column["metric"])
        value = None if score is None else _part(score, column["part"])
        if value is not None:
            found[column["key"]] = value if step is None else round(round(value / step) * step, 10)
    return found


def _part(score: Any, part: str) -> float | None:
    if part == "value" or score.interval is None:
        found = score.value if part == "value" else None
    else:
        found = score.interval[part == "high"]
    return None if found is None else float(found)


def _live(found: dict[str, float], step: float) -> str:
    shown = "".join(f"{key}: {value:g}\n" for key, value in found.items())
    return f"{shown}rounded to multiples of {step:g} while the phase is live\n"


def _page(output: Path, heading: str, text: str) -> None:
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<h1>{heading}</h1><pre style="overflow-x: auto">{html.escape(text)}</pre></html>\n'
    )
    (output / "detailed_results.html").write_text(page, encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

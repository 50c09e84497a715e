"""Let a program of others align a functional volume; matrices from elsewhere do as well."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from nsd_bench.errors import NsdBenchError, OptionError, SourceError, choices

__all__ = ["ALIGNERS", "align", "require_tool"]

_WITHOUT = "give the matrix of an alignment made elsewhere with --register, --flirt or --affine"
ALIGNERS: Final = {"bbregister": "FreeSurfer", "flirt": "FSL"}
"""Program to what brings it."""


def require_tool(name: str) -> str:
    """Return the path of a program in `ALIGNERS`.

    Raises
    ------
    NsdBenchError
        If it is not installed; names what brings it, and the way without it.
    """
    found = shutil.which(name)
    if found is None:
        raise NsdBenchError(
            f"{name} is not installed",
            place=f"--align {name}",
            expected=f"{ALIGNERS[name]}'s program on the PATH",
            fix=f"{_WITHOUT}, or install {ALIGNERS[name]}",
        )
    return found


def align(tool: str, reference: Path, anatomy: Path, output: Path, freesurfer: Path | None = None) -> None:
    """Align a functional volume to the anatomy; rigid, and therefore approximate.

    Parameters
    ----------
    tool
        One of `ALIGNERS`: "bbregister" writes a register.dat, "flirt" a matrix from functional to anatomy.
    reference
        The functional volume.
    anatomy
        The subject's anatomical volume; for "flirt".
    output
        The file to write.
    freesurfer
        The subject's FreeSurfer folder; for "bbregister".

    Raises
    ------
    OptionError
        If the tool is unknown, or "bbregister" lacks `freesurfer`.
    NsdBenchError
        If the program is not installed.
    SourceError
        If it fails.
    """
    if tool not in ALIGNERS:
        raise OptionError(
            f"cannot align with {tool!r}",
            place=str(reference),
            expected=choices(tool, ALIGNERS),
            fix="give one of these",
        )
    if tool == "bbregister" and freesurfer is None:
        raise OptionError(
            "cannot align with 'bbregister' without a FreeSurfer folder",
            place=str(reference),
            expected="the subject's folder, with surf/ and mri/",
            fix="give it with --freesurfer, or align with flirt",
        )
    program, settings = require_tool(tool), dict(os.environ)
    command = [program, "-in", str(reference), "-ref", str(anatomy), "-omat", str(output), "-dof", "6"]
    if freesurfer is not None and tool == "bbregister":
        settings["SUBJECTS_DIR"] = str(freesurfer.parent.resolve())
        command = [program, "--s", freesurfer.name, "--mov", str(reference), "--reg", str(output)]
        command += ["--init-coreg", "--t2"]
    ended = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if ended.returncode or not output.is_file():
        said = (ended.stderr or ended.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise SourceError(
            f"{tool} ended with code {ended.returncode} ({said[0]})",
            place=str(reference),
            expected=f"the alignment in {output}",
            fix=_WITHOUT,
        )

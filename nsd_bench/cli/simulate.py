"""`nsd-bench simulate`: a miniature NSD with a known answer."""

from __future__ import annotations

from pathlib import Path

import click

from nsd_bench.cli.shared.inputs import check_exporters, numbers

__all__ = ["command"]


@click.command("simulate")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--subjects", callback=numbers, default="1,2", show_default=True, help="As in 1,2 or 1-8.")
@click.option("--sessions", callback=numbers, help="One number, or one a subject, as in 3,2.")
@click.option("--shape", callback=numbers, help="Voxels along x, y, z; 17,20,14 by default.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--full-size", is_flag=True, help="NSD's real grids: 3 GB a session and subject.")
@click.option("--mni-shape", callback=numbers, help="Also betas in MNI space, of this shape.")
@click.option("--imagery-gain", type=float, help="Also NSD-Imagery, its signal so much of that of seeing.")
@click.option("--synthetic", is_flag=True, help="Also NSD-synthetic.")
@click.option("--quiet", is_flag=True, help="Draw no progress bar.")
def command(
    out: Path,
    subjects: tuple[int, ...],
    sessions: tuple[int, ...] | None,
    shape: tuple[int, int, int] | None,
    seed: int,
    full_size: bool,
    mni_shape: tuple[int, int, int] | None,
    imagery_gain: float | None,
    synthetic: bool,
    quiet: bool,
) -> None:
    """Write a miniature NSD to OUT, in NSD's own formats, and its answer to OUT.answer."""
    check_exporters()
    from exporters.simulate import simulate

    simulate(
        out,
        subjects=subjects,
        sessions=sessions[0] if sessions is not None and len(sessions) == 1 else sessions,
        shape=shape,
        seed=seed,
        full_size=full_size,
        mni_shape=mni_shape,
        imagery_gain=imagery_gain,
        synthetic=synthetic,
        progress=not quiet,
    )
    files = [file for file in out.rglob("*") if file.is_file()]
    size_mb = sum(file.stat().st_blocks * 512 for file in files) / 1e6
    click.echo(f"{out}: {len(files)} files, {size_mb:.0f} MB; the answer is in {out}.answer")
    click.echo(f"Next: nsd-bench export demo --nsd-root {out} --out packages")

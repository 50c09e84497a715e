"""`nsd-bench view-flat`: a page to leaf through a flat-map data set."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("view-flat")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Page to write, as in flat.html.")
@click.option("--split", help="Tier; the first one by default.")
@click.option("--sample", default=24, show_default=True, type=click.IntRange(min=1), help="Records to show.")
@click.option("--seed", default=0, show_default=True, help="Another one draws another sample.")
def command(dataset: Path, out: Path, split: str | None, sample: int, seed: int) -> None:
    """Show a sample of DATASET: photograph, flat map with regions, captions and objects."""
    from nsd_bench.errors import NsdBenchError, PackageError
    from nsd_bench.outputs import new_file, refuse_existing
    from nsd_bench.plots.viewer import viewer_page

    refuse_existing(out)
    try:
        page = viewer_page(dataset, split, n_records=sample, seed=seed)
    except NsdBenchError:
        raise
    except (OSError, ValueError) as error:  # A file was removed or cut off; pyarrow's errors are ValueErrors.
        raise PackageError(
            f"a file of it is missing or damaged ({error})",
            place=str(dataset),
            expected="every file that 'nsd-bench export-flat' wrote, whole",
            fix="copy the data set again, or export it again",
        ) from error
    with new_file(out) as file:
        file.write(page.encode())
    click.echo(f"{out}: open it in a browser; it shows NSD's photographs and may not be passed on")

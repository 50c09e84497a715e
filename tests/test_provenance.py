"""The digest of the code that decides an export's bytes: all of it, and no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporters.packages import provenance
from exporters.packages.provenance import (
    NOT_FOLLOWED,
    data_files,
    deciding_modules,
    imported_by,
    source_digest,
)

REPO = Path(__file__).parents[1]
ROOMS = ("exporters", "nsd_bench", "tiers")
ENTRIES = {
    "exporters.packages.export",
    "exporters.flat.dataset",
    "exporters.curated.curate",
    "exporters.packages.companions",
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Let the digest look at a copy of the project, of which a test may change files."""
    for room in ROOMS:
        shutil.copytree(REPO / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.zip"))
    monkeypatch.setattr(provenance, "_PROJECT", tmp_path)
    provenance._file.cache_clear()
    yield tmp_path
    provenance._file.cache_clear()
    source_digest.cache_clear()


def digests() -> dict[str, str]:
    source_digest.cache_clear()
    return {entry: source_digest(entry) for entry in ENTRIES}


DECIDES = {
    "exporters/nsd/betas.py": ENTRIES,
    "exporters/TERMS.md": {"exporters.packages.export", "exporters.flat.dataset"},
    "nsd_bench/package/storage.py": ENTRIES,
    "nsd_bench/outputs.py": ENTRIES,
    "nsd_bench/package/write.py": {"exporters.packages.export", "exporters.packages.companions"},
    "nsd_bench/package/statistics.py": {
        "exporters.packages.export",
        "exporters.packages.companions",
    },
    "nsd_bench/package/truth.py": {"exporters.packages.export"},
    "nsd_bench/package/read.py": {"exporters.packages.companions"},
    "nsd_bench/cortex/raster.py": {"exporters.flat.dataset"},
    "exporters/curated/grey_matter_3mm.nii.gz": {"exporters.curated.curate"},
    "exporters/packages/companions.py": {"exporters.packages.companions"},
    "tiers/assign.py": {"exporters.packages.export", "exporters.flat.dataset"},
    "nsd_bench/package/keys.py": {"exporters.packages.export"},
}
"""File to the exports whose bytes it decides."""
DECIDES_NOTHING = [
    "tiers/audit/leakage.py",
    "tiers/audit/audit.py",
    "tiers/rewrite/apply.py",
    "tiers/sensorium.toml",
    "exporters/simulate/betas.py",
    "exporters/packages/verify.py",
    "exporters/cortex/build.py",
    "exporters/packages/plan.py",
    "nsd_bench/cli/export.py",
    "nsd_bench/errors.py",
    "nsd_bench/package/validate.py",
    "nsd_bench/decoding/decoder.py",
]


def test_what_decides_bytes_changes_the_digest_and_nothing_else_does(copy):
    before = digests()
    assert len(set(before.values())) == len(ENTRIES)
    for name, decided in DECIDES.items():
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content + b"\nCHANGED = 1\n")
        changed = {entry for entry, digest in digests().items() if digest != before[entry]}
        assert changed == decided, name
        path.write_bytes(content)
    for name in DECIDES_NOTHING:
        assert (copy / name).is_file()
        (copy / name).write_text("CHANGED = 1\n")
    assert digests() == before


def test_a_comment_a_docstring_and_layout_change_nothing(copy):
    before = digests()
    path = copy / "exporters/packages/build.py"
    text = path.read_text()
    head, body = text.split('"""\n', 1)
    call = "rows = trials.loc["
    assert call in body
    body = body.replace(call, "rows = trials.loc[  # a comment\n\n            # another\n            ")
    body = body.replace('"""One package in the making', '"""A package in the making')
    path.write_text(f'{head} More.\n\nAnd more."""\n\n\n# Said of nothing.\n{body}')
    compile(path.read_text(), "build.py", "exec")
    assert path.read_text() != text
    assert digests() == before
    path.write_text(text.replace("np.zeros_like(behaviour)", "np.ones_like(behaviour)"))
    assert digests()["exporters.packages.export"] != before["exporters.packages.export"]


def test_tokens_by_hand():
    source = (
        '"""What it is."""\nX = 1  # so\n"""Of X."""\n\n\ndef f(a):\n    """Do."""\n    return f"{a!r}"\n'
    )
    found = [" ".join(words) for words in provenance._statements(source)]
    assert found == [
        "X = 1 NEWLINE",
        "def f ( a ) : NEWLINE",
        "INDENT",
        'return f"{a!r}" NEWLINE',
        "DEDENT",
    ]


def test_a_text_over_several_lines_is_one_word():
    source = 'x = f"""a # no comment\n  {y} b\n\n{z}"""  # one\n'
    assert list(provenance._statements(source)) == [
        ["x", "=", 'f"""a # no comment\n  {y} b\n\n{z}"""', "NEWLINE"]
    ]


def test_what_is_not_followed_is_imported():
    """A reason that is no longer needed goes."""
    imported = {
        (name, other)
        for entry in ENTRIES
        for name, path in deciding_modules(entry).items()
        for other in imported_by(path)
    }
    others = {("*", other) for _, other in imported}
    assert imported | others >= NOT_FOLLOWED.keys()


EXPORT = """
import json, sys
from pathlib import Path
root, out, rooms = sys.argv[1], Path(sys.argv[2]), tuple(sys.argv[3:])
opened = set()
sys.addaudithook(lambda event, args: event == "open" and opened.add(str(args[0])))
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
wanted = load_recipe("demo", subjects=(3,), sessions=(1,))
assert len(list(export_packages(wanted, Path(root), out, progress=False))) == 1
names = [name for name, one in sys.modules.items() if getattr(one, "__file__", None)]
print(json.dumps({
    "modules": [name for name in names if name.partition(".")[0] in ("exporters", "nsd_bench", "tiers")],
    "files": [name for name in opened if name.startswith(rooms) and not name.endswith((".py", ".pyc"))],
}))
"""


def test_whatever_an_export_runs_and_reads_is_in_the_digest_or_has_a_reason(nsd_root, tmp_path):
    rooms = [f"{REPO / room}/" for room in ROOMS]
    command = [sys.executable, "-c", EXPORT, str(nsd_root), str(tmp_path / "out"), *rooms]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
    ran = json.loads(done.stdout)
    decides = deciding_modules("exporters.packages.export")
    reasoned = set()
    for _, name in NOT_FOLLOWED:
        reasoned |= deciding_modules(name).keys()
    rest = set(ran["modules"]) - decides.keys() - reasoned
    # Files of rooms that do nothing but describe it, or pass on what others define.
    assert all((REPO / name.replace(".", "/") / "__init__.py").is_file() for name in rest), rest
    for name in rest:
        words = provenance._statements((REPO / name.replace(".", "/") / "__init__.py").read_text())
        assert {statement[0] for statement in words} <= {"from", "__all__", "PROJECT"}, name
    assert len(decides.keys() & set(ran["modules"])) > 0.9 * len(decides)
    read = {Path(name).relative_to(REPO).as_posix() for name in ran["files"]}
    # Recipe and tiers are in the manifest, each with its text.
    assert read - data_files("exporters.packages.export").keys() == {
        "exporters/recipes/demo.toml",
        "tiers/sensorium.toml",
    }
    assert data_files("exporters.packages.export").keys() <= read

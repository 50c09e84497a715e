"""What an entrant can do to a package that withholds: his own code, on the files that he was given.

Nothing of the product is imported: whatever it does, an entrant reads bytes. An attack returns what it claims
to have found out; `leaks` compares the claims with the owner's secret, and with what guesses would give.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import itertools
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np

SD = 5.0
"""Standard deviations above chance from which on a claim counts as knowledge (one-sided p = 3e-7)."""
LEAST_HITS = 10
"""A permutation has so many fixed points with p = 1e-7 (Poisson, mean 1)."""


# -- what he holds ---


class Loot:
    """A package as folder, zip or packed twin, byte by byte, and all that the disk says of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._raw: dict[str, list[bytes]] = {}
        self._data: dict[str, np.ndarray] = {}
        self.form = "zip" if path.is_file() else "packed" if path.suffix == ".packed" else "folder"
        if self.form == "zip":
            with zipfile.ZipFile(path) as archive:
                self.entries = [info for info in archive.infolist() if not info.is_dir()]
            self._offset = {info.filename.partition("/")[2]: info for info in self.entries}
            self.names = list(self._offset)
        else:
            self.names = [one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()]

    def read(self, name: str) -> bytes:
        if self.form != "zip":
            return (self.path / name).read_bytes()
        info = self._offset[name]
        with self.path.open("rb") as file:
            file.seek(info.header_offset + 26)
            file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
            return file.read(info.compress_size)

    def array(self, name: str) -> np.ndarray:
        return np.load(io.BytesIO(self.read(name)), allow_pickle=False)

    def column(self, name: str) -> np.ndarray:
        return self.array(f"meta/trials/{name}.npy")

    def json(self, name: str) -> object:
        return json.loads(self.read(name))

    @cached_property
    def manifest(self) -> dict:
        return self.json("manifest.json")

    @cached_property
    def tiers(self) -> np.ndarray:
        return self.column("tiers")

    @property
    def n(self) -> int:
        return len(self.tiers)

    @cached_property
    def withheld(self) -> np.ndarray:
        return np.isin(self.tiers, ["test", "final_test"])

    @cached_property
    def kinds(self) -> list[str]:
        return sorted({name.split("/")[1] for name in self.names if name.startswith("data/")})

    def raw(self, kind: str) -> list[bytes]:
        """The bytes of every trial's file, header included; of a packed twin its numbers alone."""
        if kind not in self._raw:
            self._raw[kind] = self._read_all(kind)
        return self._raw[kind]

    def _read_all(self, kind: str) -> list[bytes]:
        if self.form != "packed":
            return [self.read(f"data/{kind}/{i}.npy") for i in range(self.n)]
        described = self.json(f"data/{kind}/zarr.json")
        whole = self.read(f"data/{kind}/c/" + "/".join("0" * len(described["shape"])))
        step = int(np.prod(described["shape"][1:])) * np.dtype(described["data_type"]).itemsize
        return [whole[i * step : (i + 1) * step] for i in range(self.n)]

    def data(self, kind: str) -> np.ndarray:
        if kind not in self._data:
            raw = self.raw(kind)
            if self.form == "packed":
                described = self.json(f"data/{kind}/zarr.json")
                flat = np.frombuffer(b"".join(raw), described["data_type"])
                self._data[kind] = flat.reshape(described["shape"])
            else:
                self._data[kind] = np.stack([np.load(io.BytesIO(one)) for one in raw])
        return self._data[kind]

    def marks(self, kind: str) -> dict[str, np.ndarray]:
        """All that folder or zip says of a trial's file besides its content, by file number."""
        wanted = [f"data/{kind}/{i}.npy" for i in range(self.n)]
        if self.form == "packed":
            return {}
        if self.form == "zip":
            position = {name: place for place, name in enumerate(self.names)}
            infos = [self._offset[name] for name in wanted]
            return {
                "position in the directory": np.array([position[name] for name in wanted]),
                "offset": np.array([info.header_offset for info in infos]),
                "size": np.array([info.compress_size for info in infos]),
                "date": np.array([datetime(*info.date_time).timestamp() for info in infos]),
                "date in the entry": np.array([self._local_date(info) for info in infos]),
                "extra field": np.array([int.from_bytes(info.extra[:7]) for info in infos]),
                "comment": np.array([int.from_bytes(info.comment[:7]) for info in infos]),
                "attributes": np.array([info.external_attr for info in infos]),
            }
        found = {one.name: place for place, one in enumerate((self.path / "data" / kind).iterdir())}
        stats = [(self.path / name).lstat() for name in wanted]
        return {
            "position in the folder": np.array([found[name.rpartition("/")[2]] for name in wanted]),
            "mtime": np.array([one.st_mtime_ns for one in stats]),
            "ctime": np.array([one.st_ctime_ns for one in stats]),
            "inode": np.array([one.st_ino for one in stats]),
            "size": np.array([one.st_size for one in stats]),
            "blocks": np.array([one.st_blocks for one in stats]),
            "mode": np.array([one.st_mode for one in stats]),
        }

    def _local_date(self, info: zipfile.ZipInfo) -> int:
        with self.path.open("rb") as file:
            file.seek(info.header_offset + 10)
            time, date = struct.unpack("<HH", file.read(4))
        return date << 16 | time


@dataclass(frozen=True, repr=False)
class Design:
    """NSD's public design of the trials that are in the package, as its public tiers tell; in their order."""

    trial: np.ndarray
    session: np.ndarray
    nsd_id: np.ndarray


@dataclass(frozen=True, repr=False)
class Entrant:
    """What one holds: the package; perhaps an open one, another that withholds, the design; a lucky guess."""

    loot: Loot
    opened: Loot | None = None
    other: Loot | None = None
    design: Design | None = None
    guess: dict[str, np.ndarray] | None = None


# -- what he claims, and what it is worth ---


@dataclass(frozen=True, repr=False)
class Secret:
    """What the owner knows of every file."""

    trial: np.ndarray
    session: np.ndarray
    nsd_id: np.ndarray
    repeat: np.ndarray

    def numbers(self) -> dict[str, np.ndarray]:
        return {"trial": self.trial, "session": self.session, "nsd_id": self.nsd_id, "repeat": self.repeat}


@dataclass(frozen=True, repr=False)
class Ranks:
    """A number by file that may rank as trial, session, nsd_id or repeat do; `once`: one file an image."""

    what: str
    values: np.ndarray
    files: np.ndarray | None = None
    once: bool = False


@dataclass(frozen=True, repr=False)
class Names:
    """A trial, session or nsd_id claimed for every file; -1 where none is."""

    what: str
    of: str
    claimed: np.ndarray


@dataclass(frozen=True, repr=False)
class Alike:
    """A score for every pair of some files, said to be higher within a session."""

    what: str
    files: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What no package that withholds may show at all."""

    what: str


Claim = Ranks | Names | Seen


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties sharing their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rho; 0 where either is constant."""
    a, b = (ranks(values) - (len(values) - 1) / 2 for values in (one, other))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def rank_correlation_within(one: np.ndarray, other: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Spearman's rho within groups, pooled, and its distance from chance in SD of permutations within them.

    How often an image is shown is seen in every package, and links to an image of many files are made last.
    """
    product = scale = variance = 0.0
    for which in (group == number for number in np.unique(group)):
        a, b = (ranks(values[which]) - (which.sum() - 1) / 2 for values in (one, other))
        product, scale = product + float(a @ b), scale + float(np.sqrt((a @ a) * (b @ b)))
        variance += float(a @ a) * float(b @ b) / max(which.sum() - 1, 1)
    return (product / scale, product / float(np.sqrt(variance))) if scale > 0 else (0.0, 0.0)


def chance_of_hits(claimed: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Mean and SD of the number of hits over all permutations of the files (Hoeffding 1951)."""
    n = len(true)
    _, both = np.unique(np.r_[claimed, true], return_inverse=True)
    c, t = both[:n], both[n:]
    of_claims, of_truth = (np.bincount(x, minlength=both.max() + 1) for x in (c, t))
    row, column = of_truth[c] / n, of_claims[t] / n
    total = float(of_claims @ of_truth)
    squares = total - n * (row @ row) - n * (column @ column) + total**2 / n**2
    return total / n, float(np.sqrt(max(squares, 0) / (n - 1)))


def leaks(claims: list[Claim], secret: Secret) -> list[str]:
    """Say which claims are better than chance by SD standard deviations, and by how much."""
    return [text for claim in claims for text in _leaks_of(claim, secret)]


def _leaks_of(claim: Claim, secret: Secret) -> Iterator[str]:
    if isinstance(claim, Seen):
        yield claim.what
    elif isinstance(claim, Names):
        true = secret.numbers()[claim.of]
        made = claim.claimed >= 0
        if made.any():
            hits = int((claim.claimed[made] == true[made]).sum())
            mean, sd = chance_of_hits(claim.claimed[made], true[made])
            if hits > mean + SD * sd and hits >= LEAST_HITS:
                yield f"{claim.what}: {claim.of} of {hits} of {made.sum()} files, {mean:.1f} by chance"
    else:
        files = np.arange(len(secret.trial)) if claim.files is None else claim.files
        values = claim.values
        if claim.once:
            _, first = np.unique(secret.nsd_id[files], return_index=True)
            files, values = files[first], values[first]
        _, image, counts = np.unique(secret.nsd_id, return_inverse=True, return_counts=True)
        n_repeats = counts[image][files]
        for of, true in secret.numbers().items():
            rho, z = rank_correlation_within(values, true[files], n_repeats)
            if abs(z) > SD:
                yield f"{claim.what} ranks as {of}: rho {rho:+.3f} over {len(files)} files"


# -- attacks ---

Attack = Callable[[Entrant], list[Claim]]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


@attack
def order_from_public_numbers(held: Entrant) -> list[Claim]:
    """Number the trials by all seeds and spellings that a package, or a reader of the code, may think of."""
    loot, claims = held.loot, []
    trials = np.arange(loot.n) if held.design is None else held.design.trial
    subject, recipe = loot.manifest["subject"], loot.manifest["recipe"]["values"]
    seeds = {
        recipe.get("seed", 0),
        0,
        1,
        subject,
        loot.manifest["name"],
        recipe["name"],
        loot.manifest["kind"],
    }
    for seed in seeds:
        for spelling in ("{s}:{u}:{t}", "{s}:{t}", "{u}:{t}", "{t}", "{s}:{u}:order:{t}", "{s}:{u}:file:{t}"):
            keys = [hashlib.sha256(spelling.format(s=seed, u=subject, t=t).encode()).digest() for t in trials]
            order = trials[sorted(range(loot.n), key=keys.__getitem__)]
            claims.append(Names(f"SHA-256 of '{spelling}' with {seed!r}", "trial", order))
        if isinstance(seed, int):
            orders = {
                make.__name__: np.random.Generator(make(seed)).permutation(loot.n)
                for make in (np.random.PCG64, np.random.Philox, np.random.MT19937)
            }
            orders["RandomState"] = np.random.RandomState(seed).permutation(loot.n)
            for name, order in orders.items():
                claims.append(Names(f"{name}({seed})", "trial", trials[order]))
                claims.append(Names(f"inverse of {name}({seed})", "trial", trials[np.argsort(order)]))
    return claims


@attack
def file_number_is_the_trial(held: Entrant) -> list[Claim]:
    """Take the numbers of files, and of rows, for an order in time or by image."""
    number = np.arange(held.loot.n)
    claims: list[Claim] = [Ranks("file number", number), Names("file number", "trial", number)]
    image = held.loot.column("frame_image_id")
    _, image, counts = np.unique(image, return_inverse=True, return_counts=True)
    place = np.zeros(held.loot.n)
    for one in range(len(counts)):
        place[image == one] = np.arange(counts[one])
    repeated = np.flatnonzero(counts[image] > 1)
    return [*claims, Ranks("order of an image's files", place[repeated], repeated)]


@attack
def numbering_of_the_open_package(held: Entrant) -> list[Claim]:
    """Take file i of the open package for file i of this one, and the ids there for the ids here."""
    if held.opened is None:
        return []
    claims: list[Claim] = []
    if held.opened.n == held.loot.n:
        claims += [
            Names("file i is file i of the open package", "trial", held.opened.column("trial_idx")),
            Names("file i is file i of the open package", "nsd_id", held.opened.column("nsd_id")),
        ]
    known = {str(one) for one in held.opened.column("trial_idx").tolist()}
    if known & {str(one) for one in held.loot.column("trial_idx").tolist()}:
        claims.append(Seen("trial_idx of the open package are in this one"))
    return claims


@attack
def marks_of_files(held: Entrant) -> list[Claim]:
    """Rank files by what folder or zip says of them: dates, inodes, sizes, places."""
    return [
        Ranks(f"{mark} of {kind}", values, once=kind == "images")
        for kind in held.loot.kinds
        for mark, values in held.loot.marks(kind).items()
    ]


@attack
def order_of_tables(held: Entrant) -> list[Claim]:
    """Rank files by their ids, by their places in fit_on and in the list of digests, and by their class."""
    loot = held.loot
    ids = loot.column("trial_idx").tolist()
    as_number = np.array([int(str(one), 16) / 2**128 if isinstance(one, str) else one for one in ids], float)
    claims: list[Claim] = [
        Ranks("trial_idx", as_number),
        Ranks("frame_image_id", loot.column("frame_image_id"), once=True),
        Ranks("frame_image_class", loot.column("frame_image_class"), once=True),
    ]
    place = {
        one: position for position, one in enumerate(loot.json("meta/statistics/fit_on.json")["trial_idx"])
    }
    fitted = np.array([number for number, one in enumerate(ids) if one in place])
    claims.append(Ranks("place in fit_on", np.array([place[ids[number]] for number in fitted]), fitted))
    listed = [line.split("  ", 1)[1] for line in loot.read("checksums.sha256").decode().splitlines()]
    where = {name: position for position, name in enumerate(listed)}
    for kind in loot.kinds:
        places = np.array([where[f"data/{kind}/{number}.npy"] for number in range(loot.n)])
        claims.append(Ranks(f"place of {kind} among the digests", places, once=kind == "images"))
    return claims


@attack
def plain_or_hashed_ids(held: Entrant) -> list[Claim]:
    """Try small numbers, spelt in several ways and hashed, as ids of trials and images."""
    claims: list[Claim] = []
    limit = 3000
    for column, of in (("trial_idx", "trial"), ("frame_image_id", "nsd_id")):
        ids = held.loot.column(column)
        if ids.dtype.kind in "iu":
            claims.append(Names(f"{column} itself", of, ids.astype(np.int64)))
            claims.append(Names(f"{column} less one", of, ids.astype(np.int64) - 1))
            continue
        place = {one: file for file, one in enumerate(ids.tolist())}
        for algorithm, spelling in itertools.product(
            ("md5", "sha1", "sha256"), ("{}", "{:05d}", "{}.0", "subj01:{}")
        ):
            claimed = np.full(held.loot.n, -1)
            for number in range(limit):
                digest = hashlib.new(algorithm, spelling.format(number).encode()).hexdigest()[:32]
                if digest in place:
                    claimed[place[digest]] = number
            claims.append(Names(f"{column} is {algorithm} of '{spelling}'", of, claimed))
    return claims


def guessed_keys(loot: Loot) -> list[bytes]:
    """Keys that one may guess, or make of what lies in the package."""
    manifest = loot.manifest
    recipe = manifest["recipe"]
    words = ["", "0", "key", "secret", "password", "nsd", "nsd-bench", "nsd_bench", "subj01", recipe["text"]]
    words += [
        str(manifest[name]) for name in ("name", "title", "kind", "subject", "checksums", "citation", "terms")
    ]
    words += [str(value) for value in recipe["values"].values() if isinstance(value, str | int)]
    digests = [one["sha256"] for one in manifest["sources"].values()] + list(manifest["commitments"].values())
    digests += [manifest["exporter"]["source_sha256"], manifest["checksums"]]
    keys = [word.encode() for word in words] + [bytes.fromhex(one) for one in digests]
    keys += [one.encode() for one in digests] + [bytes([number]) for number in range(256)]
    responses = loot.data("responses")
    known = [
        responses[:0],
        responses,
        responses[~loot.withheld],
        responses[loot.withheld],
        responses[loot.withheld][:, :1],
    ]
    for name in (manifest["name"], manifest["kind"], ""):
        for rows in known:
            digests = sorted(hashlib.sha256(row.tobytes()).digest() for row in rows)
            keys.append(hashlib.sha256(b"\0".join((name.encode(), *digests))).digest())
            keys.append(
                hashlib.sha256(name.encode() + b"\0" + hashlib.sha256(rows.tobytes()).digest()).digest()
            )
    keys += [hashlib.sha256(one).digest() for one in keys]
    keys += [hmac.digest(one, manifest["kind"].encode(), "sha256") for one in keys]
    return list(dict.fromkeys(keys))


@attack
def guessed_key(held: Entrant) -> list[Claim]:
    """Try every guessed key on the ids of trials; where one fits, on those of images and the order."""
    loot, claims = held.loot, []
    ids = set(loot.column("trial_idx").tolist())
    trials = np.arange(loot.n) if held.design is None else held.design.trial
    for key in guessed_keys(loot):
        if any(keyed(loot, key, "trial", trial) in ids for trial in trials[:3].tolist()):
            claims += _undone(held, key, trials)
    return claims


def keyed(loot: Loot, key: bytes, what: str, number: int) -> str:
    """An id as the code makes it, which is public."""
    message = f"{loot.manifest['name']}:{loot.manifest['subject']}:{what}:{number}".encode()
    return hmac.digest(key, message, "sha256").hex()[:32]


def _undone(held: Entrant, key: bytes, trials: np.ndarray) -> list[Claim]:
    loot, named = held.loot, f"under the key {key[:16]!r}"
    number_of = {keyed(loot, key, "trial", trial): trial for trial in trials.tolist()}
    trial = np.array([number_of.get(one, -1) for one in loot.column("trial_idx").tolist()])
    order = np.argsort([keyed(loot, key, "order", one) for one in trials.tolist()])
    claims: list[Claim] = [
        Names(f"trial_idx {named}", "trial", trial),
        Names(f"order {named}", "trial", trials[order]),
    ]
    if held.design is not None:
        shown = np.unique(held.design.nsd_id)
        shown = shown[np.argsort([keyed(loot, key, "image", one) for one in shown.tolist()])]
        image = np.minimum(loot.column("frame_image_id"), len(shown) - 1)
        claims.append(Names(f"frame_image_id {named}", "nsd_id", shown[image]))
    return claims


@attack
def sessions_by_normalization(held: Entrant) -> list[Claim]:
    """Find the session under whose mean and deviation a trial's betas are whole numbers over 300."""
    loot = held.loot
    folders = sorted({name.rpartition("/")[0] for name in loot.names if name.endswith("/std.npy")})
    claims: list[Claim] = []
    for folder in folders:
        mean, std = (loot.array(f"{folder}/{name}.npy").astype(np.float64) for name in ("mean", "std"))
        if mean.ndim != 2:
            continue  # statistics over all training trials
        files = np.flatnonzero(~loot.withheld)
        betas = loot.data("responses")[files].astype(np.float64)
        off = [
            np.abs((x := (betas * s + m) * 300) - np.rint(x)).mean(axis=1)
            for m, s in zip(mean, std, strict=True)
        ]
        claimed = np.full(loot.n, -1)
        claimed[files] = np.argmin(off, axis=0) + 1
        claims.append(Names(f"whole betas under {folder}", "session", claimed))
    return claims


@attack
def behaviour_in_time(held: Entrant) -> list[Claim]:
    """Rank the trials with a press by every column of behaviour, and by whether two columns agree."""
    if "behavior" not in held.loot.kinds:
        return []
    values, names = held.loot.data("behavior"), held.loot.json("meta/behavior_names.json")
    pressed = np.flatnonzero(
        (values != held.loot.manifest["recipe"]["values"]["behavior"]["missing"]).all(axis=1)
    )
    values = values[pressed]
    claims: list[Claim] = [Ranks(name, values[:, column], pressed) for column, name in enumerate(names)]
    for a, b in itertools.combinations(range(len(names)), 2):
        claims.append(Ranks(f"{names[a]} = {names[b]}", values[:, a] == values[:, b], pressed))
    return claims


@attack
def what_is_withheld(held: Entrant) -> list[Claim]:
    """Look for bits that are not zero, a minus sign among them, where zeros stand, and for odd headers."""
    loot, claims = held.loot, []
    hidden = {"responses": loot.withheld}
    if loot.manifest["kind"] == "track1":
        hidden["behavior"] = np.ones(loot.n, dtype=bool)
    for kind, rows in hidden.items():
        raw = loot.raw(kind)
        body = loot.data(kind)[0].nbytes
        n = sum(any(raw[number][-body:]) for number in np.flatnonzero(rows).tolist())
        if n:
            claims.append(Seen(f"{n} files of withheld {kind} are not zero, bit by bit"))
    for kind in loot.kinds:
        body = loot.data(kind)[0].nbytes
        heads = [one[: len(one) - body] for one in loot.raw(kind)]
        claims.append(Ranks(f"header of {kind}", np.unique(heads, return_inverse=True)[1]))
    for name in loot.names:
        if name.startswith("meta/statistics/behavior/") and "behavior" in hidden and loot.array(name).any():
            claims.append(Seen(f"{name} tells of behaviour"))
    return claims


_KNOWN = (
    "data/",
    "meta/statistics/",
    "meta/neurons/",
    "meta/trials/",
    "config.json",
    "manifest.json",
    "TERMS.md",
)
_KNOWN += ("checksums.sha256", "meta/roi_names.json", "meta/behavior_names.json", "zarr.json")
_TRIAL_COLUMNS = {"tiers", "trial_idx", "frame_image_id", "frame_image_class"}


@attack
def files_that_do_not_belong(held: Entrant) -> list[Claim]:
    """Look for files and columns of which a package that withholds needs none."""
    strange = [name for name in held.loot.names if not name.startswith(_KNOWN) or "/." in name]
    columns = [name for name in held.loot.names if name.startswith("meta/trials/")]
    strange += [name for name in columns if name[len("meta/trials/") : -len(".npy")] not in _TRIAL_COLUMNS]
    lengths = {held.loot.n}
    for name in held.loot.names:
        if (
            name.startswith("meta/")
            and name.endswith(".npy")
            and not name.startswith(("meta/trials/", "meta/neurons/"))
        ):
            shape = held.loot.array(name).shape
            if len(shape) > 1 or (shape and shape[0] in lengths):
                strange.append(f"{name} of shape {shape}")
    return [Seen(f"{name} is there") for name in strange]


@attack
def digests_of_the_open_package(held: Entrant) -> list[Claim]:
    """Join files by equal digests, pixels and shown numbers apart: those are NSD's own."""
    if held.opened is None:
        return []
    ours, theirs = (
        dict(line.split("  ", 1)[::-1] for line in one.read("checksums.sha256").decode().splitlines())
        for one in (held.loot, held.opened)
    )
    hidden = {"responses": held.loot.withheld}
    if held.loot.manifest["kind"] == "track1":
        hidden["behavior"] = np.ones(held.loot.n, dtype=bool)
    trial = held.opened.column("trial_idx")
    claims: list[Claim] = []
    for kind, rows in hidden.items():
        known = {theirs[f"data/{kind}/{number}.npy"]: trial[number] for number in range(held.opened.n)}
        names = (f"data/{kind}/{number}.npy" for number in range(held.loot.n))
        claimed = np.array([known.get(ours[name], -1) for name in names])
        claims.append(Names(f"equal digests of {kind}", "trial", np.where(rows, claimed, -1)))
    return claims


@attack
def join_of_two_packages(held: Entrant) -> list[Claim]:
    """Join a package of another kind by ids, file numbers and the order of image ids."""
    if held.other is None:
        return []
    claims: list[Claim] = []
    ours, theirs = (set(one.column("trial_idx").tolist()) for one in (held.loot, held.other))
    if ours & theirs:
        claims.append(Seen(f"{len(ours & theirs)} trial_idx are those of the other package"))
    pixels = [
        np.array([hashlib.sha256(one.tobytes()).hexdigest() for one in loot.data("images")])
        for loot in (held.loot, held.other)
    ]
    if len(pixels[0]) == len(pixels[1]):
        same, (mean, sd) = int((pixels[0] == pixels[1]).sum()), chance_of_hits(*pixels)
        if same > mean + SD * sd and same >= LEAST_HITS:
            claims.append(Seen(f"{same} files are numbered as in the other package, {mean:.1f} by chance"))
    of_other = dict(zip(pixels[1].tolist(), held.other.column("frame_image_id").tolist(), strict=True))
    pairs = zip(held.loot.column("frame_image_id").tolist(), pixels[0].tolist(), strict=True)
    both = np.array(sorted({(image, of_other[one]) for image, one in pairs if one in of_other}))
    if len(both):
        rho = rank_correlation(both[:, 0], both[:, 1])
        if abs(rho) * np.sqrt(len(both) - 1) > SD:
            claims.append(Seen(f"frame_image_id rank as in the other package: rho {rho:+.3f}"))
    return claims


@attack
def commitments_by_guessed_salts(held: Entrant) -> list[Claim]:
    """Verify withheld responses by the commitments: guessed right, even, but by salts that need no secret."""
    if held.guess is None:
        return []
    committed, empty = held.loot.manifest["commitments"], np.full(len(held.guess["trial_idx"]), "")
    salts = {"none": empty[:0], "empty": empty, "trial_idx": held.guess["trial_idx"]}
    salts["frame_image_id"] = held.guess["frame_image_id"].astype(str)
    return [
        Seen(f"the commitment to {tier} verifies responses with {named} as salt")
        for named, salt in salts.items()
        for tier, digest in commitments(held.guess, salt).items()
        if digest == committed[tier]
    ]


def commitments(truth: dict[str, np.ndarray], salt: np.ndarray) -> dict[str, str]:
    """Commit to the arrays of a truth file, as the manifest does, with salts of one's own."""
    start = hashlib.sha256(str(truth["roi_names"]).encode())
    for name in ("unit_ids", "ncsnr", "response_mean", "response_std"):
        start.update(truth[name].tobytes())
    for name in sorted(name for name in truth if name.startswith("roi_") and name != "roi_names"):
        start.update(name.removeprefix("roi_").encode() + truth[name].tobytes())
    columns = [
        salt,
        truth["trial_idx"],
        truth["frame_image_id"],
        *([truth["nsd_id"]] if "nsd_id" in truth else []),
    ]
    tiers = {tier: start.copy() for tier in np.unique(truth["tier"]).tolist()}
    for row in np.argsort(truth["trial_idx"]).tolist():
        named = "".join(f"{column[row]}:" for column in columns if len(column)).encode()
        body = hashlib.sha256(named + truth["responses"][row].tobytes()).digest()
        tiers[str(truth["tier"][row])].update(body)
    return {tier: digest.hexdigest() for tier, digest in tiers.items()}


# -- what is not sealed: sessions of training trials, by the arithmetic of their responses ---


def alike_by_whole_betas(held: Entrant) -> Alike:
    """Find the spacing of whole betas, which differs by session, without the normalization: by periodograms.

    Of a session's z-scores of one unit, all lie on a grid of its own, of step 1 / (300 std).
    """
    loot = held.loot
    train = np.flatnonzero(loot.tiers == "train")
    z = loot.data("responses")[train].astype(np.float64)
    score = np.zeros((len(train), len(train)))
    extent, n_bins = 32.0, 1 << 17
    frequency = np.arange(n_bins // 2 + 1) / extent
    for unit in range(min(z.shape[1], 8)):
        bins = np.rint(z[:, unit] * n_bins / extent).astype(np.int64) % n_bins
        power = np.abs(np.fft.rfft(np.bincount(bins, minlength=n_bins)))
        power[(frequency < 90) | (frequency > 1500)] = 0
        for _ in range(2 * len(loot.manifest["sessions"])):
            peak = int(power.argmax())
            fine = frequency[peak] + np.linspace(-1, 1, 129) / extent
            waves = np.exp(2j * np.pi * np.outer(fine, z[:, unit])).sum(axis=1)
            best = int(np.abs(waves).argmax())
            phase = np.cos(2 * np.pi * fine[best] * z[:, unit] - np.angle(waves[best]))
            on_grid = (phase > 0.95).astype(float)
            score += np.outer(on_grid, on_grid)
            power[max(0, peak - 8) : peak + 9] = 0
    return Alike("spacing of whole betas", train, score)


def alike_by_moments(held: Entrant) -> Alike:
    """Solve for the sessions: over the training trials of each, z-scores and their squares have fixed sums.

    They are 0 and n - 1 for every unit. So a session's indicator solves 2 n_units - 1 linear equations, and
    where there are more of them than training trials, only the sessions do.
    """
    loot = held.loot
    train = np.flatnonzero(loot.tiers == "train")
    z = loot.data("responses")[train].astype(np.float64)
    squares = z**2 - (z**2).mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(z @ z.T + squares @ squares.T)
    null = vectors[:, : len(loot.manifest["sessions"])]
    return Alike("null space of sums", train, null @ null.T)


def alike_by_drift(held: Entrant) -> Alike:
    """Take trials with like means over all units for trials of a session."""
    train = np.flatnonzero(held.loot.tiers == "train")
    mean = held.loot.data("responses")[train].mean(axis=1, dtype=np.float64)
    return Alike("drift of the mean", train, -np.abs(mean[:, None] - mean))


def area_under_curve(alike: Alike, secret: Secret) -> float:
    """Share of pairs of a session and pairs of two, in which the former are more alike; .5 by chance."""
    session = secret.session[alike.files]
    one, other = np.triu_indices(len(session), 1)
    rank, same = ranks(alike.score[one, other]), session[one] == session[other]
    return float((rank[same].mean() - (same.sum() - 1) / 2) / (~same).sum())

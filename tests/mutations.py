"""What strangers' files can be like: good files, mutated in every way that made readers stumble."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Mutated = Iterator[tuple[str, bytes]]

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")
OTHERS = {
    "a picture": PNG,
    "a gzip": gzip.compress(b"\0" * 4000, mtime=0),
    "an empty gzip": gzip.compress(b"", mtime=0),
    "an hdf5": b"\x89HDF\r\n\x1a\n" + b"\0" * 600,
    "an npy of nothing": b"\x93NUMPY\x01\x00\xff\xff",
    "a json": b'{"format": 5}',
    "latin text": "caf\u00e9 \u00fc\n".encode("latin-1") * 9,
    "zeros": b"\0" * 5000,
    "a zip of nothing": b"PK\x05\x06" + b"\0" * 18,
    "a cut zip": b"PK\x03\x04" + b"\0" * 40,
    "a lone surrogate": b"a,b\n\xed\xa0\x80,1\n",
}
WRONG = (None, True, -1, 2**70, 10**400, 1.5, "text", "\ud800", "", [], {}, [[]], {"a": 1}, ["\ud800"])
_HUGE = 238 << 24
"""Bytes, 4 GB, of an array that a few megabytes of deflate hold."""
DEEP = "[" * 5000 + "]" * 5000


def everywhere(good: bytes, rng: random.Random, n_flips: int) -> Mutated:
    """Whatever the format: empty, cut, with a byte that is another, and other files under its name."""
    yield "empty", b""
    for part in (1, len(good) // 4, len(good) // 2, len(good) - 9, len(good) - 1):
        yield f"cut at {part}", good[: max(part, 0)]
    yield from ((f"other: {name}", content) for name, content in OTHERS.items())
    for number in range(n_flips):
        head, tail = min(400, len(good)), min(300, len(good))
        place = (
            rng.randrange(head),
            len(good) - 1 - rng.randrange(tail),
            rng.randrange(len(good)),
        )[number % 3]
        value = rng.choice((0, 255, 127, 128, rng.randrange(256)))
        yield f"byte {place} is {value}", good[:place] + bytes([value]) + good[place + 1 :]


def json_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Every kind of value in every place, and what only parsers of JSON meet."""
    yield "nested", DEEP.encode()
    yield "nested object", (b'{"a":' * 3000 + b"1" + b"}" * 3000)
    yield "a list", b"[]"
    yield "null", b"null"
    yield "a number beyond", b"1e999"
    yield "text", b'"' + b"x" * 5000 + b'"'
    yield "utf-16", good.decode().encode("utf-16")
    content = json.loads(good)
    places = list(_places(content))
    rng.shuffle(places)
    for place in places[:n]:
        value = rng.choice(WRONG)
        yield f"{place} is {str(value)[:20]!r}", json.dumps(_changed(content, place, value)).encode()
    for place in places[:n]:
        yield f"{place} is missing", json.dumps(_changed(content, place)).encode()
    for place in places[: max(2, n // 4)]:
        for odd in ("1e999", "NaN", "-Infinity", DEEP[4400:5600], "9" * 5000):
            text = json.dumps(_changed(content, place, "\0odd"))
            yield f"{place} is {odd[:9]}", text.replace('"\\u0000odd"', odd).encode()


def json_lines(good: bytes, rng: random.Random, n: int) -> Mutated:
    """One line of JSON that is mutated, before and after good ones."""
    first, *rest = good.splitlines()
    for name, line in json_like(first, rng, n):
        yield name, b"\n".join([line, *rest, b""])


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside: Any = ()
    if isinstance(content, dict):
        inside = content.items()
    elif isinstance(content, list):
        inside = enumerate(content[:3])
    for key, value in inside:
        yield (*path, key)
        yield from _places(value, (*path, key))


_GONE = object()


def _changed(content: Any, place: tuple[Any, ...], value: Any = _GONE) -> Any:
    changed = copy.deepcopy(content)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    if value is _GONE:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return changed


def toml_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Lines with other values, and what only parsers of TOML meet."""
    yield "nested", b"a = " + DEEP.encode()
    yield "nested tables", b"a = " + b"{a=" * 2000 + b"1" + b"}" * 2000
    yield "dotted", b".".join([b"a"] * 5000) + b" = 1"
    lines = good.decode().splitlines()
    given = [number for number, line in enumerate(lines) if " = " in line]
    for _ in range(n):
        number = rng.choice(given)
        key = lines[number].split(" = ")[0]
        value = rng.choice(
            [
                "1",
                "-1",
                "nan",
                "inf",
                '"x"',
                "[]",
                "[[]]",
                "{}",
                "1979-05-27",
                "true",
                "9" * 4000,
                '"\\u0000"',
            ]
        )
        yield (
            f"{key} = {value[:9]}",
            "\n".join([*lines[:number], f"{key} = {value}", *lines[number + 1 :]]).encode(),
        )
        yield f"{key} is missing", "\n".join(lines[:number] + lines[number + 1 :]).encode()


def table_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Cells, columns and rows that are other than they should be."""
    lines = good.decode().splitlines()
    sep = "\t" if "\t" in lines[0] else ","
    names = lines[0].split(sep)
    yield "no rows", lines[0].encode() + b"\n"
    yield "a quote that never ends", good + b'"'
    yield "NUL", good.replace(b"1", b"\0", 3)
    yield "a longer row", "\n".join([*lines, sep.join("1" * (len(names) + 3))]).encode()
    yield "columns twice", "\n".join(sep.join([line, line]) for line in lines).encode()
    for _ in range(n):
        row, column = rng.randrange(1, min(len(lines), 50)), rng.randrange(len(names))
        value = rng.choice(
            ["", "text", "nan", "inf", "-1", "1e999", "9" * 400, "1.5", "\ud800", "$x$", "True"]
        )
        cells = lines[row].split(sep)
        cells[column % len(cells)] = value
        changed = "\n".join([*lines[:row], sep.join(cells), *lines[row + 1 :]])
        yield f"cell {row}, {column} is {value[:9]!r}", changed.encode("utf-8", "surrogatepass")
    for column in range(min(len(names), n)):
        cut = [sep.join(c for i, c in enumerate(line.split(sep)) if i != column) for line in lines]
        yield f"without column {names[column]}", "\n".join(cut).encode()


def npy(array: Any) -> bytes:
    """Return an array as .npy, objects as pickles."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=True)
    return stream.getvalue()


def headed(shape: str, descr: str = "'<f4'", version: int = 1) -> bytes:
    """Return a .npy whose header promises something, with 16 bytes behind it."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    text += b" " * (-len(text) % 64) + b"\n"
    size = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + b"\0" * 16


HEADERS = {
    "a huge shape": headed("(4000000000, 4000000000)"),
    "a large shape": headed("(600000000,)"),
    "a negative shape": headed("(-1, 4)"),
    "a shape of 5000 digits": headed(f"({'9' * 5000},)"),
    "a nested header": headed("(" * 3000 + ")" * 3000),
    "a monstrous header": headed("(4,)" + " " * 60_000),
    "a header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "no dtype": headed("(4,)", "'nonsense'"),
    "a void dtype": headed("(4,)", "'V0'"),
    "a nested dtype": headed("(4,)", "[('a', " * 80 + "'<f4'" + ")]" * 80),
    "version 9": headed("(4,)", version=9),
}


def arrays_like(good: Any) -> Iterator[tuple[str, Any]]:
    """Arrays of other types and shapes than a good one."""
    array = np.asanyarray(good)
    numbers = array.dtype.kind in "iufb"
    yield "objects", np.array([{"a": 1}] * 3, dtype=object)
    yield "text", np.full(array.shape, "text")
    yield "surrogates", np.full(array.shape, "\ud800")
    yield "complex", np.zeros(array.shape, dtype=complex)
    yield "records", np.zeros(array.shape, dtype=[("a", "<i4"), ("b", "U3")])
    yield "dates", np.zeros(array.shape, dtype="datetime64[s]")
    yield "bytes", np.full(array.shape, b"\xff")
    yield "no axis", np.float64(3)
    yield "nothing", array[:0] if array.ndim else np.zeros(0)
    yield "one axis more", array[None]
    yield "twice as long", np.concatenate([array, array]) if array.ndim else np.zeros(2)
    yield "transposed", array.T
    if numbers and array.size:
        yield "NaN", np.full(array.shape, np.nan)
        yield "float16 infinities", np.full(array.shape, np.inf, dtype=np.float16)
        yield "beyond", np.full(array.shape, 1e300)
        yield "minus one", np.full(array.shape, -1)
        yield "uint64", np.full(array.shape, 2**64 - 1, dtype=np.uint64)
        yield "big endian", array.astype(array.dtype.newbyteorder(">"))


def npy_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Other arrays, and headers that lie."""
    made = [*HEADERS.items(), ("an npz", zipped({"a.npy": good}))]
    made += [(name, npy(other)) for name, other in arrays_like(np.load(io.BytesIO(good)))]
    yield from rng.sample(made, min(len(made), 4 * n))


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip of entries, always the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.writestr(info, content)
    return stream.getvalue()


def unzipped(good: bytes) -> dict[str, bytes]:
    """Return the entries of a zip."""
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def swollen(name: str, head: bytes, n_bytes: int, others: dict[str, bytes]) -> bytes:
    """Return a zip with an entry of `head` and zeros, `n_bytes` of them, in a few megabytes.

    Blocks of deflate that end with a full flush can be repeated: nothing large is ever made here.
    """
    chunk = 1 << 24
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"\0" * chunk) + packer.flush(zlib.Z_FULL_FLUSH)
    body = start + block * (n_bytes // chunk) + packer.flush()
    data = zipped({**others, name: b"!" * 8}, zipfile.ZIP_STORED)
    place = data.rindex(b"!" * 8)
    size = len(head) + n_bytes // chunk * chunk
    data = data[:place] + body + data[place + 8 :]
    start_local = data.rindex(b"PK\x03\x04", 0, place)
    fields = struct.pack("<HHHIII", 8, 0, 33, 0, len(body), size)
    data = data[: start_local + 8] + fields + data[start_local + 26 :]
    central = data.rindex(b"PK\x01\x02")
    data = data[: central + 10] + fields + data[central + 28 :]
    end = data.rindex(b"PK\x05\x06")
    offset = struct.unpack("<I", data[end + 16 : end + 20])[0] + len(body) - 8
    return data[: end + 16] + struct.pack("<I", offset) + data[end + 20 :]


def zip_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Entries that are encrypted, compressed as nobody does, climbing, twice, or that swell."""
    entries = unzipped(good)
    central = [place for place in range(len(good)) if good.startswith(b"PK\x01\x02", place)]
    for place in rng.sample(central, min(3, len(central))):
        yield "encrypted", good[: place + 8] + b"\x01\x00" + good[place + 10 :]
        yield "compressed by 99", good[: place + 10] + b"\x63\x00" + good[place + 12 :]
        yield "declared 4 GB", good[: place + 20] + b"\xfe\xff\xff\xff" * 2 + good[place + 28 :]
        yield "said to be deflated", good[: place + 10] + b"\x08\x00" + good[place + 12 :]
        yield "elsewhere", good[: place + 42] + b"\xf0\xff\xff\x0f" + good[place + 46 :]
    yield "climbing", zipped({**entries, "../../evil": b""})
    first = next(iter(entries))
    yield "a name of 300 letters", zipped({**entries, first.partition("/")[0] + "/" + "x" * 300: b""})
    yield "lzma", zipped(entries, zipfile.ZIP_LZMA)
    yield "bzip2", zipped(entries, zipfile.ZIP_BZIP2)


def npz_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Every array missing, of other types and shapes, no array at all, or swelling."""
    yield from zip_like(good, rng, n)
    entries = unzipped(good)
    for name, data in entries.items():
        others = {key: value for key, value in entries.items() if key != name}
        yield f"without {name}", zipped(others)
        yield f"{name} is no array", zipped({**others, name: b"no array"})
        yield f"{name} is nothing", zipped({**others, name: b""})
        array = np.load(io.BytesIO(data))
        made = [(f"{name} is {what}", other) for what, other in HEADERS.items()]
        made += [(f"{name} is {what}", npy(other)) for what, other in arrays_like(array)]
        if array.ndim == 0 and array.dtype.kind == "U" and str(array)[:1] in "{[":
            made += [
                (f"{name}: {what}", npy(text.decode("utf-8", "surrogatepass")))
                for what, text in json_like(str(array).encode(), rng, n)
                if not text.startswith(b"\xff\xfe")
            ]
        for what, content in rng.sample(made, min(len(made), max(4, n))):
            yield what, zipped({**others, name: content})
    name = next(iter(entries))
    rest = {key: value for key, value in entries.items() if key != name}
    yield f"{name} swells", swollen(name, headed(f"({_HUGE >> 2},)")[:-16], _HUGE, rest)
    yield "an unwanted entry swells", swollen("zzz.npy", headed(f"({_HUGE >> 2},)")[:-16], _HUGE, entries)


NIFTI_FIELDS: dict[str, tuple[int, str, tuple[Any, ...]]] = {
    "sizeof_hdr": (0, "<i", (0, 540, -1)),
    "dim[0]": (40, "<h", (-1, 0, 1, 2, 7, 8, 32767)),
    "dim[1]": (42, "<h", (-1, 0, 32767)),
    "dim[3]": (46, "<h", (-1, 0, 32767)),
    "dim[4]": (48, "<h", (-1, 0, 32767)),
    "datatype": (70, "<h", (0, 1, 3, 16, 32, 128, 2304, -1)),
    "bitpix": (72, "<h", (0, -1)),
    "pixdim[1]": (80, "<f", (float("nan"), 0.0, 1e38)),
    "vox_offset": (108, "<f", (float("nan"), float("inf"), -1.0, 0.0, 1e30)),
    "scl_slope": (112, "<f", (float("nan"), float("inf"), 0.0, 1e30)),
    "scl_inter": (116, "<f", (float("nan"), 5.0)),
    "sform_code": (254, "<h", (-1, 99)),
    "srow_x": (280, "<4f", ((float("nan"),) * 4, (0.0,) * 4, (1e30,) * 4)),
    "magic": (344, "<4s", (b"ni1\0", b"\0\0\0\0", b"n+2\0")),
}


def nifti_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Headers that lie, inside a good gzip."""
    zipped_up = good[:2] == b"\x1f\x8b"
    plain = gzip.decompress(good) if zipped_up else good
    again: Callable[[bytes], bytes] = (lambda data: gzip.compress(data, 1, mtime=0)) if zipped_up else bytes
    for name, (offset, kind, values) in NIFTI_FIELDS.items():
        for value in values:
            field = struct.pack(kind, *(value if isinstance(value, tuple) else (value,)))
            yield f"{name} is {value}", again(plain[:offset] + field + plain[offset + len(field) :])
    for part in (0, 100, 348, 352, len(plain) - 1):
        yield f"{part} bytes inside", again(plain[:part])
    yield "more inside", again(plain + b"\0" * 1000)
    yield "extensions", again(plain[:348] + b"\x01\0\0\0" + plain[352:])
    yield "another gzip behind", good + gzip.compress(b"more", mtime=0)
    yield "not gzipped", plain
    yield "gzipped twice", gzip.compress(good, 1, mtime=0)


def mgh_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Sizes and types that lie; big-endian: version, four axes, type."""
    zipped_up = good[:2] == b"\x1f\x8b"
    plain = gzip.decompress(good) if zipped_up else good
    again: Callable[[bytes], bytes] = (lambda data: gzip.compress(data, 1, mtime=0)) if zipped_up else bytes
    for place in range(0, 28, 4):
        for value in (-1, 0, 2, 7, 2**31 - 1):
            yield (
                f"word {place} is {value}",
                again(plain[:place] + struct.pack(">i", value) + plain[place + 4 :]),
            )
    for part in (0, 100, 284, len(plain) - 1):
        yield f"{part} bytes inside", again(plain[:part])
    yield "not as its name says", plain if zipped_up else gzip.compress(plain, 1, mtime=0)
    if zipped_up:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        chunk = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)
        block = packer.compress(b"\0" * (1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
        yield "swells", chunk + block * 200 + packer.flush()


def hdf5_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Data sets of another name, type, shape or kind."""
    import h5py

    with h5py.File(io.BytesIO(good)) as file:
        (name,) = file
        shape = file[name].shape

    def made(write: Callable[[Any], Any]) -> bytes:
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            write(file)
        return stream.getvalue()

    yield "another name", made(lambda file: file.create_dataset("other", data=np.zeros(3)))
    yield "a group", made(lambda file: file.create_group(name))
    yield "a dangling link", made(lambda file: file.__setitem__(name, h5py.SoftLink("/nowhere")))
    yield "an external link", made(lambda file: file.__setitem__(name, h5py.ExternalLink("/dev/null", "/a")))
    yield "a loop", made(lambda file: file.__setitem__(name, h5py.SoftLink(f"/{name}")))
    yield "a scalar", made(lambda file: file.create_dataset(name, data=3.0))
    yield "an empty space", made(lambda file: file.create_dataset(name, dtype="f4"))
    yield "text", made(lambda file: file.create_dataset(name, data=["a"] * 5))
    yield "no axis", made(lambda file: file.create_dataset(name, shape=(), dtype="i2"))
    for dtype in ("f8", "S3", "c8", "u1", ">i2", [("a", "i4")]):
        yield f"dtype {dtype}", made(lambda file, dtype=dtype: file.create_dataset(name, shape, dtype=dtype))
    yield "transposed", made(lambda file: file.create_dataset(name, shape[::-1], dtype="i2"))
    yield (
        "huge",
        made(lambda file: file.create_dataset(name, (10**7, *shape[1:]), "i2", chunks=(1, *shape[1:]))),
    )
    yield "unwritten", made(lambda file: file.create_dataset(name, shape, "i2", chunks=(1, *shape[1:])))
    yield "a kind of its own", made(lambda file: file.__setitem__(name, np.dtype("f4")))


def parquet_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Tables with columns of other types, without columns, without rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(good))

    def made(table: Any) -> bytes:
        stream = io.BytesIO()
        pq.write_table(table, stream)
        return stream.getvalue()

    yield "no columns", made(table.select([]))
    yield "no rows", made(table.slice(0, 0))
    for number, name in enumerate(table.column_names):
        yield f"without {name}", made(table.drop_columns([name]))
        odd = rng.choice(
            [pa.array([["x"]] * len(table)), pa.nulls(len(table)), pa.array([{"a": 1}] * len(table))]
        )
        yield f"{name} is {odd.type}", made(table.set_column(number, name, odd))
        wild = pa.array([2.0**62] * len(table))
        yield f"{name} is far", made(table.set_column(number, name, wild))


def xml_like(good: bytes, rng: random.Random, n: int) -> Mutated:
    """Words of the format that are others, and what only parsers of XML meet."""
    yield "nested", b"<?xml version='1.0'?>" + b"<a>" * 20000 + b"</a>" * 20000
    laughs = b"".join(b'<!ENTITY b%d "%s">' % (i, b"&b%d;" % (i - 1) * 10) for i in range(1, 12))
    yield "entities", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b0 "ha">' + laughs + b"]><a>&b11;</a>"
    yield "an outer entity", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    for old, new in (
        (b'Dim0="', b'Dim0="9'),
        (b'Dim0="', b'Dim0="-'),
        (b'Dimensionality="2"', b'Dimensionality="7"'),
        (b"GZipBase64Binary", b"Base64Binary"),
        (b"GZipBase64Binary", b"ASCII"),
        (b"GZipBase64Binary", b"ExternalFileBinary"),
        (b"LittleEndian", b"BigEndian"),
        (b"NIFTI_TYPE_INT32", b"NIFTI_TYPE_NONE"),
        (b"NIFTI_TYPE_FLOAT32", b"NIFTI_TYPE_RGB24"),
        (b"NIFTI_INTENT_POINTSET", b"NIFTI_INTENT_TRIANGLE"),
        (b"NIFTI_INTENT_TRIANGLE", b"NIFTI_INTENT_NONE"),
        (b"<Data>", b"<Data>!!"),
        (b"UTF-8", b"klingon"),
        (b'width="', b'width="x'),
        (b' d="M', b' d="M nan'),
        (b' d="M', b' d="A'),
    ):
        if old in good:
            yield f"{old.decode()} is {new.decode()}", good.replace(old, new)

"""JSON objects as frozen dataclasses: faults are named by their place, and what was read can be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import reading
from nsd_bench.package.storage import read_json

__all__ = ["IN_MEMORY", "ONLY_IF_SET", "JsonRecord", "read_file", "read_record"]

ONLY_IF_SET: Final = {"only if set": True}
"""Metadata of a field that is None by default, and then not written."""
IN_MEMORY: Final = {"in memory": True}
"""Metadata of a field that is neither read nor written."""
_OWN: Final = ("keys", "extra")

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class JsonRecord:
    """An object of a JSON file; subclasses' fields are its keys.

    Parameters
    ----------
    keys
        Those that are written first, in this order, None or not; of a record that was read, all that it had.
        Without any, all fields are written but those that are only written if they are set.
    extra
        Keys of a file that are no fields: those of newer versions. They are kept and written.
    """

    keys: tuple[str, ...] = field(default=(), repr=False, compare=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return what `json` writes: dicts, lists, text, numbers and None."""
        known, out = _fields(type(self)), dict[str, Any]()
        rest = [
            name
            for name, one in known.items()
            if getattr(self, name) != one.default or not (self.keys or one.only_if_set)
        ]
        for key in dict.fromkeys((*self.keys, *rest, *self.extra)):
            value = getattr(self, key) if key in known else self.extra[key]
            out[key] = _plain(value) if key in known and not known[key].is_plain else value
        return out


_MOST_WHOLE: Final = 1 << 63
_SHOWN_PRINTABLE: Final = ("card", "warnings")
"""Keys of what entrants say of themselves: pages make it printable."""


class _Field(NamedTuple):
    hint: Any
    default: Any
    only_if_set: bool
    is_plain: bool  # as `json` read it, all the way down


_KNOWN: Final[dict[type, dict[str, _Field]]] = {}


def _fields(cls: Any) -> dict[str, _Field]:
    if cls not in _KNOWN:
        _KNOWN[cls] = _fields_of(cls, get_type_hints(cls))
    return _KNOWN[cls]


def _fields_of(cls: Any, hints: Mapping[str, Any]) -> dict[str, _Field]:
    return {
        one.name: _Field(
            hints[one.name],
            one.default if one.default_factory is MISSING else one.default_factory(),
            one.metadata == ONLY_IF_SET,
            _is_plain(hints[one.name]),
        )
        for one in fields(cls)
        if one.name not in _OWN and one.metadata != IN_MEMORY
    }


def _is_plain(hint: Any) -> bool:
    return hint is Any or any(map(_is_plain, get_args(hint)))


def _plain(value: Any) -> Any:
    if isinstance(value, JsonRecord):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


def read_record(cls: type[R], content: object, place: str = "") -> R:
    """Make a dataclass of a JSON object, whose keys are its fields.

    Parameters
    ----------
    cls
        Its fields may be text, numbers, dataclasses, tuples and mappings of these, or None. Keys that are no
        fields are kept by a `JsonRecord`, and refused by any other.
    content
        As `json` read it.
    place
        Where it stands in the file, for errors: keys and numbers, with dots between.

    Raises
    ------
    ValueError
        Naming the first key that is missing, or whose value is of another type, by its place.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Package:
    ...     name: str
    ...     n_trials: Mapping[str, int]
    >>> read_record(Package, {"name": "nsd-subj01", "n_trials": {"test": 6}})
    Package(name='nsd-subj01', n_trials={'test': 6})
    >>> read_record(Package, {"name": "nsd-subj01", "n_trials": {"test": "6"}})
    Traceback (most recent call last):
    ValueError: 'n_trials.test' is of type str, not int
    """
    if not isinstance(content, dict):
        raise _other_type(content, "dict", place)
    known = _fields(cls)
    for name, one in known.items():
        if one.default is MISSING and name not in content:
            problem = f"'{_below(place, name)}' is missing"
            raise ValueError(problem)
    given = {
        name: _read(one.hint, content[name], _below(place, name))
        for name, one in known.items()
        if name in content
    }
    extra = {name: value for name, value in content.items() if name not in known}
    if issubclass(cls, JsonRecord):
        if not place:  # what is no such record, a line of a ledger, is shown with the half escaped
            _refuse_halves(content, place)
        return cls(**given, keys=tuple(content), extra=extra)
    if extra:
        problem = f"{next(iter(extra))!r} is not known{f' in {place!r}' if place else ''}"
        raise ValueError(problem)
    return cls(**given)


def _refuse_halves(value: object, place: str) -> None:
    """Refuse text that holds half of a character, cards aside: no page of ours could be written with it."""
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        problem = f"{place!r} holds half of a character"
        raise ValueError(problem)
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in _SHOWN_PRINTABLE:
                _refuse_halves(one, _below(place, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            _refuse_halves(one, _below(place, str(number)))


def _read(hint: Any, value: Any, place: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _read_union(inner, value, place)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_record(hint, value, place)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _other_type(value, "dict", place)
        return {key: _read(inner[1], one, _below(place, key)) for key, one in value.items()}
    if origin is not None and issubclass(origin, Sequence):
        return _read_list(inner, value, place)
    if not isinstance(value, (int, float) if hint is float else hint):
        raise _other_type(value, hint.__name__, place)
    if isinstance(value, int) and abs(value) >= _MOST_WHOLE:
        problem = f"{place!r} is a whole number of {value.bit_length()} bits"
        raise ValueError(problem)
    return value


def _read_union(kinds: Sequence[Any], value: Any, place: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    if len(others) == 1:
        return _read(others[0], value, place)
    if not isinstance(value, tuple(others)):
        raise _other_type(value, " or ".join(kind.__name__ for kind in others), place)
    return value


def _read_list(inner: Sequence[Any], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _other_type(value, "list", place)
    kinds = inner if len(inner) > 1 and inner[1] is not ... else [inner[0]] * len(value)
    if len(kinds) != len(value):
        problem = f"{place!r} has {len(value)} entries, not {len(kinds)}"
        raise ValueError(problem)
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(_read(kind, one, _below(place, str(number))) for number, (kind, one) in pairs)


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _other_type(value: object, expected: str, place: str) -> ValueError:
    return ValueError(f"{place!r} is of type {type(value).__name__}, not {expected}")


def read_file(cls: type[R], path: Path, format_: str, what: str, command: str) -> R:
    """Read a JSON file that says which format it has.

    Parameters
    ----------
    cls
        See `read_record`.
    path, format_
        Which file, and what it says of its format.
    what, command
        What it is called, and how it is made, for errors.

    Raises
    ------
    SubmissionError
        If it cannot be read, is of another format, or lacks something; says what, and where in the file.
    """
    refusal = partial(
        SubmissionError,
        place=str(path),
        expected=f"JSON of format {format_!r}, as {command!r} wrote it",
        fix=f"give the {what}s of the folder" if path.is_dir() else "check the path, or run that again",
    )
    with reading(path, refusal, f"not a {what}"):
        return read_record(cls, read_json(path, format_))

"""Options that check themselves against their annotations, and list themselves by their docstrings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from nsd_bench.errors import OptionError, choices

__all__ = ["CheckedOptions", "OptionText", "Within"]

_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    NoneType: "null",
}


@dataclass(frozen=True)
class Within:
    """Which numbers an option may be; stands beside `int` or `float` in `Annotated`.

    Parameters
    ----------
    least
        The smallest one.
    below
        All are smaller than this.
    exclusive
        Whether `least` itself is left out.

    Examples
    --------
    >>> str(Within(0, 1)), str(Within(0, exclusive=True)), str(Within(2))
    ('of 0 or more and below 1', 'above 0', 'of 2 or more')
    """

    least: float
    below: float = math.inf
    exclusive: bool = False

    def __contains__(self, value: float) -> bool:
        return self.least <= value < self.below and not (self.exclusive and value == self.least)

    def __str__(self) -> str:
        start = f"above {self.least}" if self.exclusive else f"of {self.least} or more"
        return start if self.below == math.inf else f"{start} and below {self.below}"


_Part = TypeVar("_Part", bound="CheckedOptions")


class OptionText(NamedTuple):
    """What a list of options says of one of them.

    Parameters
    ----------
    name
        As it is given.
    default
        As the command line takes it.
    expected
        Which values it may have.
    text
        What it does.
    """

    name: str
    default: str
    expected: str
    text: str


@dataclass(frozen=True)
class CheckedOptions:
    """Base of all options of baselines: frozen dataclasses that refuse what an annotation does not allow.

    Annotations may be made of `bool`, `int`, `float`, `str`, `Path`, `Literal`, `Sequence` and unions of
    these; `Annotated[int, Within(1)]` bounds a number.

    Raises
    ------
    OptionError
        If a value is of another type than its annotation, or out of its bounds.
    """

    place: ClassVar[str] = "options"

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)).items():
            value = getattr(self, name)
            if not _fits(value, kind):
                raise OptionError(
                    f"{name}={value!r}",
                    place=self.place,
                    expected=_expected(value, kind),
                    fix=f"correct {name!r}",
                )

    @classmethod
    def of(cls, options: CheckedOptions | None, given: Mapping[str, Any]) -> Self:
        """Return options, those that were given by name in place of what `options` has.

        Parameters
        ----------
        options
            Of this class; None for the defaults.
        given
            Name to value. numpy's numbers become Python's, lists tuples.

        Raises
        ------
        OptionError
            If there is no option of such a name, or it may not have this value; or `options` are another
            baseline's.
        """
        if options is not None and type(options) is not cls:
            raise OptionError(
                f"{type(options).__name__} were given",
                place=cls.place,
                expected=cls.__name__,
                fix=f"make them with {cls.__name__}(...), or give options by name",
            )
        for name in given:
            if name not in _kinds(cls):
                raise OptionError(
                    f"there is no option {name!r}",
                    place=cls.place,
                    expected=choices(name, _kinds(cls)) if _kinds(cls) else "no options",
                    fix="leave it out, or give one of these",
                )
        former = {} if options is None else {one.name: getattr(options, one.name) for one in fields(options)}
        return cls(**former | {name: _plain(value) for name, value in given.items()})

    @classmethod
    def read(cls, texts: Mapping[str, str]) -> dict[str, Any]:
        """Read values that were written on a command line: JSON where that fits the option, else text.

        Parameters
        ----------
        texts
            Name to text; names may have dashes for underscores.

        Examples
        --------
        >>> @dataclass(frozen=True)
        ... class Tuned(CheckedOptions):
        ...     features: str = "gabor"
        ...     n_folds: int = 5
        >>> Tuned.read({"features": "123", "n-folds": "3"})
        {'features': '123', 'n_folds': 3}
        """
        return {
            name.replace("-", "_"): _read(text, _kinds(cls).get(name.replace("-", "_"), Any))
            for name, text in texts.items()
        }

    def part(self, kind: type[_Part]) -> _Part:
        """Return those of the options that another class of options has, too.

        Parameters
        ----------
        kind
            Such a class, a parent for one.
        """
        return kind(**{one.name: getattr(self, one.name) for one in fields(kind)})

    @classmethod
    def listed(cls) -> list[OptionText]:
        """Return every option with its default, the values it may have, and what its docstring says of it."""
        texts = _texts(cls)
        return [
            OptionText(one.name, _written(one.default), _expected(None, kind), texts[one.name])
            for one, kind in zip(fields(cls), _kinds(cls).values(), strict=True)
        ]


def _kinds(cls: type[CheckedOptions]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {one.name: hints[one.name] for one in fields(cls)}


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation allows."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Annotated:
        return _fits(value, arguments[0]) and value in arguments[1]
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin is Sequence:
        return (
            isinstance(value, (list, tuple))
            and bool(value)
            and all(_fits(one, arguments[0]) for one in value)
        )
    if kind in (int, float):
        numbers = (int,) if kind is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind)


def _expected(value: Any, kind: Any) -> str:
    """Say what an annotation allows; of words, the one nearest to `value`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{_expected(value, arguments[0])} {arguments[1]}"
    if origin in (Union, UnionType):
        return ", or ".join(_expected(value, one) for one in arguments)
    if origin is Literal:
        words = [one if isinstance(one, str) else json.dumps(one) for one in arguments]
        return choices(value, words) if len(words) > 1 else words[0]
    if origin is Sequence:
        return f"a list, each {_expected(value, arguments[0])}"
    return "true or false" if kind is bool else _KINDS[kind]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _read(text: str, kind: Any) -> Any:
    try:
        value = _plain(json.loads(text))
    except ValueError:
        return text
    return text if _fits(text, kind) and not _fits(value, kind) else value


def _texts(cls: type) -> dict[str, str]:
    """Return what numpydoc's section Parameters says of each, of parents too."""
    texts: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\w|\Z)", cleandoc(one.__doc__ or ""), re.S | re.M)
        for names, text in re.findall(
            r"^(\w[^\n]*)\n((?:(?:    [^\n]*)?(?:\n|\Z))+)", section[1] if section else "", re.M
        ):
            texts |= dict.fromkeys(names.partition(" : ")[0].split(", "), " ".join(text.split()))
    return texts

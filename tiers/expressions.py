"""A small safe language to say which images a rule is about: comparisons, `in`, and/or/not."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import TierError, choices

__all__ = ["FEATURE_COLUMNS", "column_of", "columns_named", "evaluate"]

FEATURE_COLUMNS = ("cluster", "distance", "difficulty")
"""Columns that image features add to the table."""
_FIXES = dict.fromkeys(FEATURE_COLUMNS, "give the image features that it comes from with --features") | {
    "shared_coco_index": "export the package again: design tables of earlier versions lack it"
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MEMBERSHIPS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.In: lambda left, right: np.isin(left, right),
    ast.NotIn: lambda left, right: ~np.isin(left, right),
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
}


def evaluate(expression: str, table: pd.DataFrame, place: str) -> npt.NDArray[np.bool_]:
    """Say for which rows of a table an expression holds.

    Nothing is ever handed to Python's `eval`.

    Parameters
    ----------
    expression
        Column names, numbers and texts joined by ``== != < <= > >= in + - * %`` and ``and or not``.
    table
        One row per image.
    place
        Named in errors: the tier file and the rule.

    Returns
    -------
    holds : bool array of shape (len(table),)

    Raises
    ------
    TierError
        If the expression cannot be read, names an unknown column or does not give yes or no.

    Examples
    --------
    >>> table = pd.DataFrame({"shared1000": [True, True, False], "n_repeats": [3, 1, 3]})
    >>> evaluate("shared1000 and n_repeats in (2, 3)", table, "here").tolist()
    [True, False, False]
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise _unreadable(expression, place, f"cannot be read ({error.msg})") from error
    try:
        with np.errstate(divide="raise"):
            value = np.asarray(_value(tree, table, place, expression))
    except TierError:
        raise
    except TypeError as error:
        raise _unreadable(expression, place, f"compares things of different kinds ({error})") from error
    except (ValueError, ArithmeticError) as error:
        raise _unreadable(expression, place, f"cannot be computed ({error})") from error
    if value.dtype != bool:
        raise _unreadable(expression, place, "gives numbers, not yes or no")
    if value.shape not in {(), (len(table),)}:
        raise _unreadable(expression, place, "gives a list, not yes or no for every row")
    return np.broadcast_to(value, len(table)).copy()


def columns_named(expression: str) -> set[str]:
    """Return the columns that an expression asks for; none if it cannot be read.

    Parameters
    ----------
    expression
        See `evaluate`.

    Examples
    --------
    >>> sorted(columns_named("shared1000 and n_repeats == 3"))
    ['n_repeats', 'shared1000']
    """
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _value(node: ast.expr, table: pd.DataFrame, place: str, expression: str) -> Any:
    def inner(child: ast.expr) -> Any:
        return _value(child, table, place, expression)

    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return constant
        case ast.Name(id=name):
            return column_of(name, table, place)
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return [inner(item) for item in items]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_yes_or_no(inner(operand), expression, place)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -inner(operand)
        case ast.BoolOp(op=join, values=values):
            combine = np.logical_and if isinstance(join, ast.And) else np.logical_or
            return combine.reduce(
                np.broadcast_arrays(*[_yes_or_no(inner(value), expression, place) for value in values])
            )
        case ast.BinOp(left=left, op=join, right=right) if type(join) in _ARITHMETIC:
            return _ARITHMETIC[type(join)](inner(left), inner(right))
        case ast.Compare(left=left, ops=joins, comparators=others) if all(
            type(join) in _COMPARISONS | _MEMBERSHIPS for join in joins
        ):
            sides = [inner(side) for side in (left, *others)]
            found = [_compared(*pair) for pair in zip(joins, sides, sides[1:], strict=False)]
            return np.logical_and.reduce(np.broadcast_arrays(*found))
    raise _unreadable(expression, place, f"uses {ast.unparse(node)!r}, which tier files do not know")


def _compared(join: ast.cmpop, left: Any, right: Any) -> npt.NDArray[np.bool_]:
    if _is_text(left) != _is_text(right) and np.size(left) and np.size(right):
        raise TypeError("texts and numbers are never equal")
    if type(join) in _MEMBERSHIPS:
        return np.asarray(_MEMBERSHIPS[type(join)](left, right))
    if isinstance(left, list) or isinstance(right, list):
        raise TypeError("a list goes with 'in' alone")
    return np.asarray(_COMPARISONS[type(join)](left, right))


def _is_text(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind == "U" or (
        array.dtype == object and any(isinstance(one, str) for one in array.flat)
    )


def _yes_or_no(value: Any, expression: str, place: str) -> npt.NDArray[np.bool_]:
    array = np.asarray(value)
    if array.dtype != bool:
        raise _unreadable(expression, place, "joins numbers with and/or/not")
    return array


def column_of(name: str, table: pd.DataFrame, place: str) -> npt.NDArray[Any]:
    """Return a column that a rule names.

    Parameters
    ----------
    name
        Of the column.
    table
        One row per image or trial.
    place
        Named in the error: the tier file and the rule.

    Returns
    -------
    values : array of shape (len(table),)

    Raises
    ------
    TierError
        If there is none; lists those that there are.
    """
    if name not in table.columns:
        raise TierError(
            f"there is no column {name!r}",
            place=place,
            expected=choices(name, sorted(table.columns)),
            fix=_FIXES.get(name, "correct the name in 'where'"),
        )
    return table[name].to_numpy()


def _unreadable(expression: str, place: str, problem: str) -> TierError:
    return TierError(
        f"{expression!r} {problem}",
        place=place,
        expected="comparisons of columns with numbers or texts, joined by and, or, not",
        fix="write for example: shared1000 and n_repeats == 3",
    )

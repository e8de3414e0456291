"""The expression language of ``scale_fn``: arithmetic in ``x``, compiled without ``eval``.

An expression is parsed to a syntax tree. Each node that the tables below allow becomes an
instruction of a small stack program; any other node is an error that names it. Python names are
never resolved and attributes never read: only arithmetic on floats is evaluated.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from types import ModuleType
from typing import Annotated, Any, NoReturn

from etils import epy

from runner.config.markers import Text
from runner.errors import FLOAT32_MAX, ConfigError, nearest, shown
from runner.registry import scale_fns

with epy.lazy_imports():
    import jax.numpy as jnp
    import numpy as np

MAX_LENGTH = 500  # characters; checked before anything is parsed
MAX_NODES = 200
MAX_DEPTH = 40
MAX_EXPONENT = 100.0

VARIABLE = "x"
CONSTANTS = {"pi": math.pi}
# name → fewest and most arguments
FUNCTIONS = {
    **dict.fromkeys(("sin", "cos", "tan", "exp", "log", "sqrt", "abs", "floor"), (1, 1)),
    **dict.fromkeys(("min", "max"), (2, 10)),
    "clip": (3, 3),
}
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.UAdd: "positive",
    ast.USub: "negative",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
PAIRWISE = {"min": "minimum", "max": "maximum"}
COMPARISONS = {name for kind, name in OPERATORS.items() if issubclass(kind, ast.cmpop)}
GRAMMAR = "write numbers, x, pi, + - * / **, comparisons and " + " ".join(FUNCTIONS)

# An instruction: a number to push, the variable (None), or a function and its argument count.
Instruction = float | None | tuple[str, int]


def scale_function(scale_fn: Any) -> Callable[[Any], Any]:
    """Resolves a scale_fn: a callable, an expression, or the name of a registered function.

    Raises:
      ConfigError: with the key ``scale_fn``, for any other value.
    """
    if callable(scale_fn):
        return scale_fn
    name = parse_name(scale_fn) if isinstance(scale_fn, str) else None
    if name is None:
        return parse(scale_fn)
    try:
        return scale_fns.get(name)
    except ConfigError:
        problem = f"{shown(name)} is neither an expression in x nor the name of a function"
        _refuse(problem, f"write an expression such as 1 / x ({nearest(name, scale_fns.names())})")


# An expression in x or the name of a registered function; in library calls also a callable.
ScaleFn = Annotated[Callable[[Any], Any] | str, Text(read=scale_function)]


def parse(text: str) -> Expression:
    """Parses an arithmetic expression in ``x``; takes milliseconds for any input.

    The language: numbers, ``x``, ``pi``, ``+ - * / **``, comparisons (1 if true, else 0) and the
    functions sin, cos, tan, exp, log, sqrt, abs, floor, min, max, clip. The absolute value of a
    constant exponent is at most 100. All numbers are converted to floats first, and constant
    subexpressions are evaluated here, in float64.

    >>> parse("1 / (1 + 0.0005 * x)")
    Expression(text='1 / (1 + 0.0005 * x)')

    Raises:
      ConfigError: its key is ``scale_fn``; the message names what was refused.
    """
    if not isinstance(text, str):
        _refuse(f"{shown(text)} is not an expression")
    if len(text) > MAX_LENGTH:
        _refuse(f"the expression has {len(text)} characters", f"write at most {MAX_LENGTH}")
    tree = _syntax_tree(text.strip())
    _check_size(tree)
    return Expression(text, tuple(_compile(tree)))


def parse_name(text: str) -> str | None:
    """``text`` if it is an identifier other than ``x`` and ``pi``, else None.

    An identifier is not an expression: it names a registered function.
    """
    name = text.strip()
    return name if name.isidentifier() and name != VARIABLE and name not in CONSTANTS else None


@dataclass(frozen=True)
class Expression:
    """A compiled expression, callable with a number or an array; compared by its text."""

    text: str
    program: tuple[Instruction, ...] = field(compare=False, repr=False)

    def __call__(self, x: Any) -> Any:
        """The value at ``x``, in float32 and of ``x``'s shape; inf or NaN where undefined."""
        x = jnp.asarray(x).astype(jnp.float32)
        return jnp.broadcast_to(jnp.asarray(_run(self.program, x, jnp, np.float32)), x.shape)


def _syntax_tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about syntax that is refused below anyway
            return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        _refuse(f"{shown(text)} cannot be parsed ({getattr(error, 'msg', None) or error})")


def _check_size(tree: ast.expr) -> None:
    """Limits the number and depth of nodes, without recursion, before any recursive walk."""
    nodes, level = 0, [tree]
    for _ in range(MAX_DEPTH):
        nodes += len(level)
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            break
    if level:
        _refuse("the expression is nested too deeply", f"nest at most {MAX_DEPTH} levels")
    if nodes > MAX_NODES:
        _refuse(f"the expression has {nodes} parts", f"write at most {MAX_NODES}")


def _compile(node: ast.AST) -> list[Instruction]:
    """The stack program of a node: its operands' programs, then its own instruction."""
    match node:
        case ast.Constant() | ast.Name():
            return [_leaf(node)]
        case ast.UnaryOp(op=operator, operand=operand):
            return _combine(node, _operator(node, operator), [operand])
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(node, _operator(node, operator), [left, right])
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return _combine(node, _operator(node, operator), [left, right])
        case ast.Compare(left=left, ops=[first, *rest], comparators=[middle, *others]):
            return [
                *_combine(node, _operator(node, first), [left, middle]),
                *_compile(ast.Compare(left=middle, ops=rest, comparators=others)),
                ("multiply", 2),
            ]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _combine(node, _function(name, len(arguments)), arguments)
    _refuse_kind(node, node)


def _combine(node: ast.AST, function: str, operands: list[ast.expr]) -> list[Instruction]:
    programs = [_compile(operand) for operand in operands]
    if function == "power":
        _check_exponent(programs[1])
    program = [*chain.from_iterable(programs), (function, len(operands))]
    if any(None in operand for operand in programs):
        return program
    value = float(_run(tuple(program), None, np, np.float64))
    if not abs(value) <= FLOAT32_MAX:
        _refuse(f"{shown(ast.unparse(node))} has no finite value in float32", "correct it")
    return [value]


def _leaf(node: ast.Constant | ast.Name) -> float | None:
    if isinstance(node, ast.Name):
        if node.id != VARIABLE and node.id not in CONSTANTS:
            _refuse(f"the name {shown(node.id)} is unknown")
        return None if node.id == VARIABLE else CONSTANTS[node.id]
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(f"the constant {repr(value)[:60]} is not a number")
    if value != value or abs(value) > FLOAT32_MAX:
        _refuse(f"the number {shown(value)} is outside the range of float32")
    return float(value)


def _operator(node: ast.AST, operator: ast.AST) -> str:
    if type(operator) not in OPERATORS:
        _refuse_kind(node, operator)
    return OPERATORS[type(operator)]


def _function(name: str, count: int) -> str:
    if name not in FUNCTIONS:
        _refuse(f"the function {shown(name)} is unknown")
    fewest, most = FUNCTIONS[name]
    if not fewest <= count <= most:
        takes = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        _refuse(f"{name} is given {count} arguments", f"{name} takes {takes}")
    return name


def _check_exponent(program: list[Instruction]) -> None:
    match program:
        case [float(value)] if abs(value) > MAX_EXPONENT:
            _refuse(f"the exponent {value:g} is too large", f"write at most {MAX_EXPONENT:g}")


def _run(program: tuple[Instruction, ...], x: Any, xp: ModuleType, dtype: Any) -> Any:
    """Runs a program with ``xp`` (numpy or jax.numpy), its constants of type ``dtype``."""
    stack: list[Any] = []
    for instruction in program:
        match instruction:
            case None:
                stack.append(x)
            case (function, count):
                operands = stack[-count:]
                del stack[-count:]
                stack.append(_apply(function, operands, xp, dtype))
            case value:
                stack.append(dtype(value))
    return stack.pop()


def _apply(function: str, operands: list[Any], xp: ModuleType, dtype: Any) -> Any:
    compute = getattr(xp, PAIRWISE.get(function, function))
    with np.errstate(all="ignore"):
        if function in COMPARISONS:
            return xp.where(compute(*operands), dtype(1), dtype(0))
        if function in PAIRWISE:
            return reduce(compute, operands)
        return compute(*operands)


def _refuse_kind(node: ast.AST, kind: ast.AST) -> NoReturn:
    _refuse(f"{shown(ast.unparse(node))} ({type(kind).__name__}) is not part of the language")


def _refuse(problem: str, remedy: str = GRAMMAR) -> NoReturn:
    raise ConfigError("scale_fn", problem, remedy)

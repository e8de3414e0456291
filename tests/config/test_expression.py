"""An expression computes what it says and cannot do anything else, however hostile it is."""

import doctest
import math
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

import runner.config.expression
from runner.config.expression import Expression, parse, parse_name, scale_function
from runner.errors import ConfigError
from runner.registry import register_scale_fn

POINTS = [1.0, 2.0, 3.0, 7.0, 100.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / (1 + 0.0005 * x)", lambda x: 1 / (1 + 0.0005 * x)),
        ("0.5 ** (x - 1)", lambda x: 0.5 ** (x - 1)),
        ("pi + sin(x) / 2", lambda x: math.pi + math.sin(x) / 2),
        ("exp(-x / 10) + cos(1) * log(x)", lambda x: math.exp(-x / 10) + math.cos(1) * math.log(x)),
        ("tan(1 / x) + sqrt(x)", lambda x: math.tan(1 / x) + math.sqrt(x)),
        ("-x ** 2 + +x", lambda x: -(x**2) + x),
        ("2 ** -3 ** 2 * x", lambda x: 2**-9 * x),
        ("abs(2 - x) + floor(x / 2)", lambda x: abs(2 - x) + x // 2),
        ("min(x, 5, 2) + max(x, 3)", lambda x: min(x, 5, 2) + max(x, 3)),
        ("clip(x, 2, 3)", lambda x: min(max(x, 2), 3)),
        ("(x < 3) * 1 + (x >= 3) * 0.5", lambda x: 1 if x < 3 else 0.5),
        ("(1 < x <= 3) + (x == 7) + (x != 2)", lambda x: (1 < x <= 3) + (x == 7) + (x != 2)),
        ("1 / 3", lambda x: 1 / 3),
        # In float32, the difference would be 2.98e-8.
        ("x * (1 / 3 - 0.3333333)", lambda x: x * (1 / 3 - 0.3333333)),
        (" x\n", lambda x: x),
    ],
)
def test_an_expression_means_what_python_means(
    text: str, expected: Callable[[float], float]
) -> None:
    value = parse(text)(np.array(POINTS))
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, [float(expected(x)) for x in POINTS], rtol=5e-7)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2" + " " * 498 + "+x", None),
        ("2 +" + " " * 496 + "x", 4),  # 500 characters
        ("+" * 38 + "x", 2),  # 40 levels with the operator of the innermost one
        ("<".join(["-x", *"x" * 65]), 0),  # 200 parts: of a name two, of each operator one, ...
        ("x ** 100 * 0.5 ** 100", 1),
        ("x ** -100 * 2 ** 100", 1),
        ("max(" + ",".join("x" * 10) + ")", 2),
    ],
)
def test_an_expression_may_be_at_the_limits(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ConfigError, match="the expression has 501 characters"):
            parse(text)
    else:
        assert float(parse(text)(2.0)) == value


def test_an_expression_takes_one_number_as_well_as_an_array_of_integers() -> None:
    assert float(parse("1 / x")(4)) == 0.25
    assert parse("2")(np.arange(6, dtype=np.int32).reshape(2, 3)).shape == (2, 3)


def test_expressions_with_equal_texts_are_equal() -> None:
    assert parse("1 / x") == parse("1 / x")
    assert hash(parse("1 / x")) == hash(parse("1 / x"))
    assert parse("1 / x") != parse("2 / x")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("__import__('os').system('true')", "__import__"),
        ("x.__class__", "__class__"),
        ("().__class__.__bases__[0]", "Subscript"),
        ("9**9**9", "exponent"),
        ("x ** 1e9", "exponent"),
        ("x ** -101", "exponent"),
        ("x ** (9 * 9 * 9)", "exponent"),
        ("-" * 100_000 + "1", "100001 characters"),
        ("-" * 400 + "1", "nested"),
        ("(" * 240 + "x" + ")" * 240, "cannot be parsed"),
        ("(" * 499, "cannot be parsed"),
        ("+".join("x" * 200), "nested"),
        ("max(" + ",".join(["max(" + ",".join("x" * 9) + ")"] * 10) + ")" + "+x" * 60, "nested"),
        ("<".join("x" * 150), "parts"),
        ("9" * 450, "range of float32"),
        ("9" * 5000, "5000 characters"),
        ("1e999", "range of float32"),
        ("1e39", "range of float32"),
        ("1 / 0", "'1 / 0'"),
        ("x + log(-1)", "'log(-1)'"),
        ("exp(1000) * 0", "'exp(1000)'"),
        ("x\0", "null"),
        ("", "cannot be parsed"),
        ("x +", "cannot be parsed"),
        ("x = 1", "cannot be parsed"),
        ("x; x", "cannot be parsed"),
        ("\ud800", "cannot be parsed"),
        ("lambda: 1", "Lambda"),
        ("(y := x)", "NamedExpr"),
        ("[x for x in x]", "ListComp"),
        ("x if x else 1", "IfExp"),
        ("f'{x}'", "JoinedStr"),
        ("'a' * 9", "'a'"),
        ("1j * x", "1j"),
        ("True + x", "True"),
        ("...", "Ellipsis"),
        ("x // 2", "FloorDiv"),
        ("x % 2", "Mod"),
        ("x @ x", "MatMult"),
        ("x << 9", "LShift"),
        ("~x", "Invert"),
        ("not x", "Not"),
        ("x and 1", "BoolOp"),
        ("x is x", "Is"),
        ("x in x", "In"),
        ("y + 1", "'y'"),
        ("eval('1')", "'eval'"),
        ("sin", "'sin'"),
        ("sin(x, x)", "sin is given 2"),
        ("min(x)", "min is given 1"),
        ("sin(x=x)", "Call"),
        ("sin(*x)", "Starred"),
        ("sin(**x)", "Call"),
        ("sin(x)(x)", "Call"),
        ("(sin)(lambda: x)", "Lambda"),
    ],
)
def test_everything_else_is_refused_quickly_and_by_name(text: str, named: str) -> None:
    started = time.thread_time()  # not wall time: the machine may be busy
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert time.thread_time() - started < 0.1
    assert caught.value.key == "scale_fn"
    assert named in caught.value.problem
    assert "\n" not in str(caught.value)


def test_a_refused_expression_prints_nothing() -> None:
    code = (
        "from runner.config.expression import parse\n"
        "from runner.errors import ConfigError\n"
        "import sys\n"
        "for text in ('1(x)', '1if x else 2', \"'\\\\d'\"):\n"
        "    try: parse(text)\n"
        "    except ConfigError: pass\n"
        "    else: raise SystemExit('accepted')\n"
        "assert 'jax' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_bare_name_is_a_registered_function_and_not_an_expression() -> None:
    assert [parse_name(text) for text in ("x", "pi", "x + y", "2", "")] == [None] * 5
    assert parse_name(" my_decay ") == "my_decay"

    @register_scale_fn("expression_test_decay")
    def decay(x: float) -> float:
        return 1 / x

    assert scale_function("expression_test_decay") is decay
    assert scale_function(decay) is decay
    assert scale_function("1 / x") == Expression("1 / x", ())
    with pytest.raises(ConfigError, match=r"^scale_fn: .*'expression_test_dekay'.*did you mean"):
        scale_function("expression_test_dekay")


@pytest.mark.parametrize("value", [None, 0.5, b"x", ["x"]])
def test_a_value_that_is_not_a_string_is_not_an_expression(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^scale_fn: .* is not an expression"):
        scale_function(value)


def test_the_doctest_passes() -> None:
    results = doctest.testmod(runner.config.expression)
    assert (results.attempted, results.failed) == (1, 0)

"""Conditions of tasks: the part of CEL that the kfp compiler writes, and nothing else.

    or    := and ("||" and)*          not     := "!" not | compare
    and   := not ("&&" not)*          compare := atom (("==" | "!=" | "<" | "<=" | ">" | ">=") atom)?
    atom  := inputs.parameter_values['name'] | 'text' | number | true | false | (int|double|string)? "(" or ")"

What does not parse is an error with the place in it. A task whose condition is in error has failed: to call it false
would skip work in silence. As in CEL every number of an input is a double, `false && error` is false and
`true || error` is true.

Sources: kubeflow/pipelines, backend/src/v2/expression/expression.go (Condition); cel-go, common/types.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embedded.control_plane.engine.go_text import parse_double, shortest_of
from embedded.control_plane.errors import DataRejected

_TOKEN = re.compile(
    r"""\s*(?:
        inputs\.parameter_values\['(?P<input>[^']+)'\]
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | '(?P<text>(?:[^'\\\r\n]|\\.)*)' | "(?P<text2>(?:[^"\\\r\n]|\\.)*)"
      | (?P<word>true|false|int|double|string)\b
      | (?P<symbol>==|!=|<=|>=|&&|\|\||[<>!()])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:(?P<code>[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|[0-3][0-7]{2})|(?P<letter>.))"
)
_ESCAPED_LETTERS = {
    **{letter: letter for letter in "\\'\"`?"},
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ConditionError(DataRejected):
    """The condition cannot be read, or not with these inputs."""


@dataclass(frozen=True)
class _Fault:
    """The value of a part that has none; it is an error when the whole hangs on it."""

    what: str


@dataclass(frozen=True)
class Token:
    kind: str
    value: str
    at: int


def evaluate_condition(text: str, inputs: Mapping[str, Any]) -> bool:
    """Whether the condition holds for these input parameters. ConditionError names what is wrong."""
    value = _Parser(text, inputs).parse()
    if isinstance(value, _Fault):
        raise ConditionError(f"condition {text!r}: {value.what}.")
    if not isinstance(value, bool):
        raise ConditionError(f"condition {text!r} is {value!r}, not true or false.")
    return value


def check_condition(text: str, *, input_names: frozenset[str]) -> None:
    """ConditionError when the condition has unknown syntax or an unknown input; its value is not asked."""
    for token in _tokens_of(text):
        if token.kind == "input" and token.value not in input_names:
            raise ConditionError(f"condition {text!r} reads the input {token.value!r}, which the task does not have.")
    _Parser(text, None).parse()


def _tokens_of(text: str) -> list[Token]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConditionError(f"condition {text!r}: {text[position:].strip()!r} is not supported syntax.")
        kind = match.lastgroup or ""
        tokens.append(Token("text" if kind == "text2" else kind, match[kind], position))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent; evaluates while it parses. Without inputs it only parses, and every value is None."""

    def __init__(self, text: str, inputs: Mapping[str, Any] | None) -> None:
        self.text = text
        self.inputs = inputs
        self.tokens = _tokens_of(text)
        self.position = 0

    def parse(self) -> Any:
        value = self._or()
        if self.position < len(self.tokens):
            raise self._error(f"unexpected {self.tokens[self.position].value!r}")
        return value

    def _or(self) -> Any:
        return self._joined(self._and, "||", decisive=True)

    def _and(self) -> Any:
        return self._joined(self._not, "&&", decisive=False)

    def _joined(self, part: Callable[[], Any], symbol: str, *, decisive: bool) -> Any:
        """One decisive part is the value, whatever the others are; else the first fault."""
        parts = [part()]
        while self._take_symbol(symbol):
            parts.append(part())
        if len(parts) == 1 or self.inputs is None:
            return parts[0]
        truths = [self._truth(value) for value in parts]
        if any(truth is decisive for truth in truths):
            return decisive
        return next((truth for truth in truths if isinstance(truth, _Fault)), not decisive)

    def _not(self) -> Any:
        if self._take_symbol("!"):
            truth = self._truth(self._not())
            return truth if isinstance(truth, _Fault) else not truth
        return self._compare()

    def _compare(self) -> Any:
        left = self._atom()
        for symbol, compare in _COMPARISONS.items():
            if self._take_symbol(symbol):
                return self._compared(left, self._atom(), symbol=symbol, compare=compare)
        return left

    def _compared(self, left: Any, right: Any, *, symbol: str, compare: Callable[[Any, Any], bool]) -> Any:
        if self.inputs is None:
            return None
        for side in (left, right):
            if isinstance(side, _Fault):
                return side
        if _kind_of(left) == _kind_of(right) and (_kind_of(left) != "other" or symbol in ("==", "!=")):
            return compare(left, right)
        if symbol in ("==", "!="):
            return symbol == "!="
        return _Fault(f"{left!r} {symbol} {right!r} compares two kinds of values")

    def _atom(self) -> Any:
        token = self._next()
        if token.kind == "input":
            return self._input(token.value)
        if token.kind == "number":
            return float(token.value) if re.search("[.eE]", token.value) else self._integer(token.value)
        if token.kind == "text":
            return _ESCAPE.sub(self._unescaped, token.value)
        if token.kind == "word":
            return token.value == "true" if token.value in ("true", "false") else self._converted(token.value)
        if token.value == "(":
            value = self._or()
            self._expect(")")
            return value
        raise self._error(f"unexpected {token.value!r}")

    def _converted(self, function: str) -> Any:
        self._expect("(")
        value = self._or()
        self._expect(")")
        if self.inputs is None or isinstance(value, _Fault):
            return value
        try:
            return _CONVERSIONS[function](value)
        except (TypeError, ValueError):
            return _Fault(f"{function}({value!r}) has no value")

    def _input(self, name: str) -> Any:
        if self.inputs is None:
            return None
        if name not in self.inputs:
            return _Fault(f"the input {name!r} has no value")
        value = self.inputs[name]
        return float(value) if _kind_of(value) == "number" else value

    def _truth(self, value: Any) -> Any:
        if self.inputs is None or isinstance(value, (bool, _Fault)):
            return value
        return _Fault(f"{value!r} is not true or false")

    def _integer(self, text: str) -> int:
        value = int(text)
        if not -(2**63) <= value < 2**63:
            raise self._error(f"{text} is beyond 64 bits")
        return value

    def _unescaped(self, match: re.Match[str]) -> str:
        """Of one escape in a text; CEL knows these and no others."""
        code, letter = match["code"], match["letter"]
        if code:
            # Of the escapes only the octal one is digits alone; the others begin with x, u or U.
            return chr(int(code.lstrip("xXuU"), 8 if code.isdigit() else 16))
        if letter not in _ESCAPED_LETTERS:
            raise self._error(f"\\{letter} is not supported syntax")
        return _ESCAPED_LETTERS[letter]

    def _take_symbol(self, symbol: str) -> bool:
        if self.position < len(self.tokens) and self.tokens[self.position] == Token(
            "symbol", symbol, self.tokens[self.position].at
        ):
            self.position += 1
            return True
        return False

    def _expect(self, symbol: str) -> None:
        if not self._take_symbol(symbol):
            raise self._error(f"{symbol!r} is missing")

    def _next(self) -> Token:
        if self.position >= len(self.tokens):
            raise self._error("it ends too early")
        self.position += 1
        return self.tokens[self.position - 1]

    def _error(self, what: str) -> ConditionError:
        return ConditionError(f"condition {self.text!r}: {what}.")


def _to_integer(value: Any) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise ValueError
        value = int(value)
    if _kind_of(value) != "number" or not -(2**63) <= value < 2**63:
        raise ValueError
    return int(value)


def _to_double(value: Any) -> float:
    if isinstance(value, str):
        # cel-go's double() is strconv.ParseFloat, which takes no space; parse_double would trim it.
        if value != value.strip():
            raise ValueError
        return parse_double(value)
    if _kind_of(value) != "number":
        raise ValueError
    return float(value)


def _to_text(value: Any) -> str:
    if isinstance(value, float):
        return shortest_of(value)
    if _kind_of(value) == "other":
        raise ValueError
    return str(value).lower() if isinstance(value, bool) else str(value)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": _to_integer, "double": _to_double, "string": _to_text}


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"

"""Conditions of tasks: the part of CEL that the kfp compiler writes, and nothing else.

    or    := and ("||" and)*          not     := "!" not | compare
    and   := not ("&&" not)*          compare := atom (("==" | "!=" | "<" | "<=" | ">" | ">=") atom)?
    atom  := inputs.parameter_values['name'] | 'text' | number | true | false | (int|double|string)? "(" or ")"

What does not parse is an error with the place in it. A task whose condition is in error has failed: to call it false
would skip work in silence.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ratchet.core.errors import DataRejected

_TOKEN = re.compile(
    r"""\s*(?:
        inputs\.parameter_values\['(?P<input>[^']+)'\]
      | (?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | '(?P<text>(?:[^'\\]|\\.)*)' | "(?P<text2>(?:[^"\\]|\\.)*)"
      | (?P<word>true|false|int|double|string)\b
      | (?P<symbol>==|!=|<=|>=|&&|\|\||[<>!()])
    )""",
    re.VERBOSE,
)
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
class Token:
    kind: str
    value: str
    at: int


def evaluate_condition(text: str, inputs: Mapping[str, Any]) -> bool:
    """Whether the condition holds for these input parameters. ConditionError names what is wrong."""
    value = _Parser(text, inputs).parse()
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
        value = self._and()
        while self._take_symbol("||"):
            right = self._and()
            value = self._truth(value) or self._truth(right)
        return value

    def _and(self) -> Any:
        value = self._not()
        while self._take_symbol("&&"):
            right = self._not()
            value = self._truth(value) and self._truth(right)
        return value

    def _not(self) -> Any:
        if self._take_symbol("!"):
            return not self._truth(self._not())
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
        if _kind_of(left) == _kind_of(right) and _kind_of(left) != "other":
            return compare(left, right)
        if symbol in ("==", "!="):
            return compare(left, right) if _kind_of(left) == _kind_of(right) else symbol == "!="
        raise self._error(f"{left!r} {symbol} {right!r} compares two kinds of values")

    def _atom(self) -> Any:
        token = self._next()
        if token.kind == "input":
            return self._input(token.value)
        if token.kind == "number":
            return float(token.value) if re.search("[.eE]", token.value) else int(token.value)
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", token.value)
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
        if self.inputs is None:
            return None
        try:
            return _CONVERSIONS[function](value)
        except (TypeError, ValueError):
            raise self._error(f"{function}({value!r}) has no value") from None

    def _input(self, name: str) -> Any:
        if self.inputs is None:
            return None
        if self.inputs.get(name) is None:
            raise self._error(f"the input {name!r} has no value")
        return self.inputs[name]

    def _truth(self, value: Any) -> bool:
        if self.inputs is not None and not isinstance(value, bool):
            raise self._error(f"{value!r} is not true or false")
        return bool(value)

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


def _to_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "double": float, "string": _to_text}


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"

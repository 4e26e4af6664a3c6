"""Python's tracebacks in the log of a task: of one process or of several ranks, chained, grouped, or a syntax error."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_RANK = re.compile(r"^\[(?:rank|default)(\d+)\]:\s?(.*)$")
"""What torch puts before each line of a rank (`[rank1]: `), and torchrun with `--tee` (`[default1]:`)."""
_HEADER = re.compile(r"^(?:Exception Group )?Traceback \(most recent call last\):$")
_FRAME = re.compile(r'^\s*File "(.+?)", line (\d+)(?:, in (.+))?$')
_EXCEPTION = re.compile(r"^([A-Za-z_][\w.<>]*)(?::(?: (.*))?)?$")
_SYNTAX_ERRORS = frozenset({"SyntaxError", "IndentationError", "TabError"})
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"
_GROUP_LINE = re.compile(r"^\s*[|+] ?(.*)$")
_GROUP_RULE = re.compile(r"^\s*(?:\+-)?\+-{4,}")
_OTHER_LINE = re.compile(
    r"^(?:[WEIFDC]\d{4} |\d{4}-\d\d-\d\d|\[|[=-]{5,}|(?:INFO|WARNING|ERROR|DEBUG|CRITICAL)\b|Traceback )"
)
"""A line of a logger, not of the message before it."""
_MESSAGE_LINES_MAX = 8
_SYNTAX_LINES_MAX = 6


@dataclass(frozen=True)
class Frame:
    path: str
    line: int
    function: str
    """"" of a syntax error."""


@dataclass(frozen=True)
class Trace:
    """One exception that was printed."""

    name: str
    """Of its class, dotted as Python printed it."""
    message: str
    """Its first paragraph on one line."""
    frames: tuple[Frame, ...]
    """The innermost is the last."""
    last_line: int
    """Of the log, counted from 0."""
    rank: str = ""
    """Of the worker that printed it; "" when the line does not say."""
    before: "Trace | None" = None
    """The exception that led to this one."""
    is_cause: bool = False
    """Whether `before` is its cause, by `raise … from`."""
    parts: tuple["Trace", ...] = ()
    """Of an exception group."""


Line = tuple[int, str]


def parse_traces(text: str) -> list[Trace]:
    """Every traceback in a log, in the order in which they end."""
    by_rank: dict[str, list[Line]] = {}
    for number, line in enumerate(text.splitlines()):
        match = _RANK.match(line)
        rank, words = match.groups() if match else ("", line)
        by_rank.setdefault(rank, []).append((number, words))
    traces = [replace(trace, rank=rank) for rank, lines in by_rank.items() for trace in _traces_in(lines)]
    return sorted(traces, key=lambda trace: trace.last_line)


def _traces_in(lines: Sequence[Line]) -> list[Trace]:
    found: list[Trace] = []
    at, link = 0, ""
    while at < len(lines):
        trace, after = _trace_at(lines, at)
        if trace is None:
            link = lines[at][1].strip() if lines[at][1].strip() in (_CAUSE, _CONTEXT) else link
            at += 1
            continue
        if link and found:
            trace = replace(trace, before=found.pop(), is_cause=link == _CAUSE)
        found.append(trace)
        at, link = after, ""
    return found


def _trace_at(lines: Sequence[Line], at: int) -> tuple[Trace | None, int]:
    """The traceback that begins at a line, and the line after it."""
    words = lines[at][1]
    group = _GROUP_LINE.match(words)
    if group and _HEADER.match(group[1].strip()):
        return _group_at(lines, at)
    if _HEADER.match(words.strip()):
        return _plain_at(lines, at + 1)
    frame = _FRAME.match(words)
    if frame and frame[3] is None:  # a program that cannot be parsed has no header
        trace, after = _plain_at(lines[: at + _SYNTAX_LINES_MAX], at)
        return (trace, after) if trace and trace.name in _SYNTAX_ERRORS else (None, at + 1)
    return None, at + 1


def _plain_at(lines: Sequence[Line], at: int) -> tuple[Trace | None, int]:
    frames: list[Frame] = []
    while at < len(lines):
        number, words = lines[at]
        if match := _FRAME.match(words):
            frames.append(Frame(match[1], int(match[2]), match[3] or ""))
        elif match := _EXCEPTION.match(words):
            rest = list(_message_lines(lines[at + 1 :]))
            message = " ".join(filter(None, (match[2] or "", *(more.strip() for _, more in rest))))
            last_line = rest[-1][0] if rest else number
            return Trace(match[1], message, tuple(frames), last_line), at + 1 + len(rest)
        elif words[:1] not in (" ", "\t"):
            return None, at
        at += 1
    return None, at


def _message_lines(lines: Sequence[Line]) -> Iterator[Line]:
    for number, words in lines[:_MESSAGE_LINES_MAX]:
        if not words.strip() or _OTHER_LINE.match(words) or _FRAME.match(words):
            return
        yield number, words


def _group_at(lines: Sequence[Line], at: int) -> tuple[Trace | None, int]:
    """An exception group: `| ` before each line, and a rule before each of its exceptions."""
    after = at
    bodies: list[list[Line]] = [[]]
    is_inside = True
    while after < len(lines) and is_inside:
        number, words = lines[after]
        if _GROUP_RULE.match(words):
            # A rule with a number or "..." begins the next exception; a bare one ends the group.
            is_inside = any(letter.isdigit() or letter == "." for letter in words)
            bodies.append([])
        else:
            match = _GROUP_LINE.match(words)
            bodies[-1].append((number, match[1] if match else words))
            is_inside = match is not None or len(bodies) > 1
        after += 1
    outer, _ = _plain_at(bodies[0], 1)
    if outer is None:
        return None, at + 1
    parts = tuple(part for body in bodies[1:] if (part := _part_of(body)) is not None)
    return replace(outer, parts=parts, last_line=lines[after - 1][0]), after


def _part_of(body: Sequence[Line]) -> Trace | None:
    """One exception of a group: with its traceback, or, when it was never raised, by its last line alone."""
    return next(iter(_traces_in(body)), None) or (_plain_at(body, 0)[0] if body else None)

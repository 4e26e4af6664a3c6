"""Why a task failed, in a sentence, as far as its exit code and its log tell. Pure.

The exception's own words come first, then the line of the user's code that raised it: the innermost frame that is
neither in a library nor in the product's own packages.
"""

import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from embedded.control_plane.engine.tracebacks import Frame, Trace, parse_traces

_PROJECT = PurePath(__file__).parents[3]
PRODUCT_DIRS = tuple(
    f"{_PROJECT / name}/" for name in ("ratchet", "components", "embedded", "sensors", "pipelines", "wire")
)
_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib/python3\.\d+/|^<frozen ")
_TEMPORARY_FILE = "ephemeral_component.py"
"""Where KFP's executor puts the source of a component; its folder is gone when the task has ended."""
_WRAPPERS = frozenset({"ChildFailedError", "CalledProcessError", "ProcessRaisedException", "ProcessExitedException"})
"""They say that a child process failed; why stands in the traceback of the child."""
_LOST_PEER = re.compile(
    r"[Cc]onnection (?:closed|reset) by peer|connectFullMesh failed|[Bb]roken pipe|remote (?:process|worker)|peer rank",
)
"""The words of a worker whose neighbour died: not the cause."""
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_NATIVE_FRAME = re.compile(r'^  File "(.+?)", line (\d+) in (.+)$', re.MULTILINE)
_NATIVE_CRASH = "Fatal Python error: "
_ROOT_CAUSE = re.compile(r"Root Cause.*?\brank\s*: (\d+).*?\bexitcode\s*: (-?\d+)", re.DOTALL)
"""The end of torchrun's banner."""
_NOISE = re.compile(r'^\[control plane\]|^\[KFP Executor|^[\]}\s,]*$|^"[^"]*":|^[^\w]*$')
_LINES_AFTER_MAX = {1: 20}
_LINES_AFTER_OTHERWISE = 5
"""A traceback with more lines of text behind it was handled. Python itself ends with exit code 1 after one."""
_SENTENCE_CHARS_MAX = 700
_LINE_CHARS_MAX = 300
CODES_OF_EXCEPTION = frozenset({1, 3, 4, 5, 6, 7, 8, 11})
"""Python's own, and those with which the steps of Ratchet's pipelines end: the class of the exception says the same."""
_CODES_WITH_WORDS = frozenset({1, 2, 126, 127})
"""`sys.exit("words")`, wrong usage, and a shell that cannot start a command: the last line says why."""


def describe_failure(code: int, log: str, *, product_dirs: Sequence[str] = PRODUCT_DIRS) -> str:
    """One line that says why a process ended with this code, which is not 0.

    code: negative, or over 128, of a process that a signal ended. log: its end is enough.
    """
    number = _signal_of(code)
    traces = parse_traces(log)
    trace = _deciding(traces, log, code)
    if number is not None and not (number is signal.SIGINT and trace):
        return _describe_signal(number, code, log, product_dirs)
    if trace is not None and (worker := _killed_worker(trace, log)):
        return worker
    if trace is not None:
        words = _describe_trace(trace, code, product_dirs)
        after = last_words_of(_after(trace, log)) if trace is traces[-1] else ""
        return _shortened(f"{words}; the last line of its log is: {after}" if after else words)
    said = last_words_of(log)
    last = f"the last line of its log is: {said}" if said else "its log gives no reason"
    if code in _CODES_WITH_WORDS and said:
        return f"exit code {code}: {said}"
    return f"exit code {code}, without a Python exception; {last}"


def last_words_of(log: str) -> str:
    """The last line with words in it; "" when there is none. Brackets, rules and the executor's own lines have none."""
    return next(_words_from_the_end(log.splitlines()), "")


def _words_from_the_end(lines: Sequence[str]) -> Iterator[str]:
    stripped = (line.strip() for line in reversed(lines))
    return (line[:_LINE_CHARS_MAX] for line in stripped if not _NOISE.match(line))


def _deciding(traces: Sequence[Trace], log: str, code: int) -> Trace | None:
    """The exception that ended the process; None when none did."""
    if not traces:
        return None
    last = traces[-1]
    is_wrapper = _class_of(last) in _WRAPPERS
    num_after = sum(1 for _ in _words_from_the_end(_after(last, log).splitlines()))
    if not is_wrapper and num_after > _LINES_AFTER_MAX.get(code, _LINES_AFTER_OTHERWISE):
        return None
    if not is_wrapper and not _is_lost_peer(last):
        return last
    told = [trace for trace in traces if _class_of(trace) not in _WRAPPERS]
    causes = [trace for trace in told if not _is_lost_peer(trace)]
    return causes[-1] if causes else last


def _after(trace: Trace, log: str) -> str:
    return "\n".join(log.splitlines()[trace.last_line + 1 :])


def _killed_worker(trace: Trace, log: str) -> str:
    """Of torchrun, which worker a signal ended first; "" when none did, or an exception tells more."""
    match = _ROOT_CAUSE.search(log)
    if match is None or not (_class_of(trace) in _WRAPPERS or _is_lost_peer(trace)):
        return ""
    number = _signal_of(int(match[2]))
    return f"worker {match[1]} was {_ended_by(number, int(match[2]))}" if number else ""


def _describe_trace(trace: Trace, code: int, product_dirs: Sequence[str]) -> str:
    words = _sentence_of(trace, product_dirs)
    if trace.before is not None:
        words += f"; {'caused by' if trace.is_cause else 'while handling'} {_name_and_message(trace.before)}"
    if trace.parts:
        words += "; " + "; ".join(_sentence_of(part, product_dirs) for part in trace.parts)
    if trace.rank:
        words += f"; in worker {trace.rank}"
    if code not in CODES_OF_EXCEPTION:
        words += f"; exit code {code}"
    return words


def _sentence_of(trace: Trace, product_dirs: Sequence[str]) -> str:
    frame = _frame_of(trace, product_dirs)
    return _name_and_message(trace) + (f" ({_place_of(frame)})" if frame else "")


def _name_and_message(trace: Trace) -> str:
    """The class by its last name where it is the product's: its modules mean nothing to a user."""
    name = _class_of(trace) if trace.name.startswith("ratchet.") else trace.name
    return f"{name}: {trace.message}" if trace.message else name


def _frame_of(trace: Trace, product_dirs: Sequence[str]) -> Frame | None:
    """The innermost frame of the user's code, of this exception or of the one before it."""
    frames = [frame for frame in trace.frames if not _LIBRARY.search(frame.path)]
    own = [frame for frame in frames if not frame.path.startswith(tuple(product_dirs))]
    is_ours = trace.name.startswith("ratchet.")
    written_by_user = [frame for frame in own if not (is_ours and frame.path.endswith(_TEMPORARY_FILE))]
    if written_by_user:
        return written_by_user[-1]
    if trace.before is not None and (found := _frame_of(trace.before, product_dirs)):
        return found
    return frames[-1] if frames and not is_ours else None


def _place_of(frame: Frame) -> str:
    path = _TEMPORARY_FILE if frame.path.endswith(f"/{_TEMPORARY_FILE}") else frame.path
    place = f"{path}, line {frame.line}"
    return place if frame.function in ("", "<module>") else f"{place}, in {frame.function}"


def _class_of(trace: Trace) -> str:
    return trace.name.rpartition(".")[2]


def _is_lost_peer(trace: Trace) -> bool:
    return bool(_LOST_PEER.search(trace.message))


def _signal_of(code: int) -> signal.Signals | None:
    number = -code if code < 0 else code - 128
    return signal.Signals(number) if number in set(signal.Signals) else None


def _describe_signal(number: signal.Signals, code: int, log: str, product_dirs: Sequence[str]) -> str:
    what = _ended_by(number, code)
    if number in _CRASHES:
        frames = [Frame(path, int(line), function) for path, line, function in _crash_frames(log)]
        if frames and (frame := _frame_of(Trace("", "", tuple(reversed(frames)), 0), product_dirs)):
            what += f", called from {_place_of(frame)}"
    last = last_words_of(log.partition(_NATIVE_CRASH)[0])
    return _shortened(f"{what}; the last line of its log is: {last}" if last else what)


def _ended_by(number: signal.Signals, code: int) -> str:
    if number in _CRASHES:
        return f"crashed with {number.name} (exit code {code}) in native code"
    why = ": the machine or its container ran out of memory, or it was killed by hand"
    return f"killed by {number.name} (exit code {code}){why if number is signal.SIGKILL else ''}"


def _crash_frames(log: str) -> list[tuple[str, str, str]]:
    """What Python's faulthandler printed, innermost first."""
    return _NATIVE_FRAME.findall(log.rpartition(_NATIVE_CRASH)[2]) if _NATIVE_CRASH in log else []


def _shortened(words: str) -> str:
    return words if len(words) <= _SENTENCE_CHARS_MAX else words[: _SENTENCE_CHARS_MAX - 1] + "…"

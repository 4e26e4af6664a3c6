"""Foreign text made safe to show, to log and to store: it cannot raise, break a line or grow large. Pure."""

EXCERPT_CHARS_MAX = 200
ERROR_CHARS_MAX = 4_000
"""Of one error, as it is shown or stored."""


def printable(text: str, *, chars_max: int = EXCERPT_CHARS_MAX) -> str:
    """One line of at most `chars_max` characters: control characters, line separators and lone surrogates escaped."""
    cut = text[: chars_max + 1]
    if not cut.isprintable():
        cut = "".join(char if char.isprintable() else _escaped(char) for char in cut)
    return cut if len(cut) <= chars_max else f"{cut[: chars_max - 1]}…"


def printable_lines(text: str, *, chars_max: int = ERROR_CHARS_MAX) -> str:
    """Like `printable`, but line breaks stay."""
    cut = text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"
    return "\n".join(printable(line, chars_max=6 * chars_max) for line in cut.split("\n"))


def excerpt_of(data: bytes | str, *, chars_max: int = EXCERPT_CHARS_MAX) -> str:
    """The beginning of what was sent, as `printable`; bytes that are not UTF-8 are shown as `\\xff`."""
    text = data[: 4 * chars_max].decode(errors="backslashreplace") if isinstance(data, bytes) else data
    return printable(text, chars_max=chars_max)


def listed(names: object, *, num_max: int = 20) -> str:
    """Names in order, at most `num_max` of them, each short: `'cat', 'dog' and 3 more`."""
    ordered = sorted(map(str, names)) if isinstance(names, (list, tuple, set, frozenset)) else [str(names)]
    more = f" and {len(ordered) - num_max} more" if len(ordered) > num_max else ""
    return ", ".join(repr(printable(name, chars_max=40)) for name in ordered[:num_max]) + more


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")

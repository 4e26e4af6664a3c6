"""A page of the guide as a script: files to write, commands to run, and what they should print."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_LINE = re.compile(r"# ([\w./-]+\.(?:py|yaml))(?::.*)?$")
_MARK = "\x1e"
"""Between the outputs of two blocks. No command prints a record separator."""


@dataclass(frozen=True)
class Block:
    """One fenced block. `text` blocks hold what the `sh` block before them prints; "…" stands for anything."""

    language: str
    note: str
    text: str

    @property
    def file_name(self) -> str:
        """The file that it is the text of: named in its first line, as a comment."""
        found = _FILE_LINE.match(self.text.partition("\n")[0])
        return found[1] if found and self.language in {"python", "yaml"} else ""


def blocks_of(page: Path) -> list[Block]:
    return [Block(found[1], found[2].strip(), found[3]) for found in _FENCE.finditer(page.read_text())]


def script_of(blocks: list[Block], *, prologue: str) -> str:
    """Bash that writes the files and runs the commands in order; a mark ends the output of each block."""
    parts = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT", prologue]
    for block in blocks:
        if block.file_name:
            parts.append(f"mkdir -p $(dirname {block.file_name})")
            parts.append(f"cat > {block.file_name} <<'END_OF_FILE'\n{block.text}END_OF_FILE")
        elif block.language == "sh":
            parts.append(block.text)
        parts.append(f"printf '%s' '{_MARK}'")
    return "\n".join(parts) + "\n"


def missing_lines(blocks: list[Block], printed: str) -> Iterator[str]:
    """The expected lines that a page's output lacks, each with the command that should have printed it."""
    outputs = printed.split(_MARK)
    for index, block in enumerate(blocks):
        if block.language == "text":
            said = outputs[index - 1] if index - 1 < len(outputs) else ""
            yield from _missing_in(said, block.text, blocks[index - 1].text)


def _missing_in(said: str, expected: str, command: str) -> Iterator[str]:
    position = 0
    for line in filter(str.strip, expected.splitlines()):
        parts = (re.escape(part.strip()).replace(r"\ ", r"\s+") for part in line.strip().split("…"))
        found = re.compile(r"[^\n]*?".join(parts)).search(said, position)
        if found is None:
            yield f"{command.strip()!r} did not print {line.strip()!r}; it printed:\n{said[position:]}"
            return
        position = found.end()

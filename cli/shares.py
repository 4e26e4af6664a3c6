"""Numbers by name as a table with bars."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from cli.words import BAR_WIDTH

_ROWS_MAX = 30


def shares(kind: str, numbers: Mapping[str, int], *, num_untold: int) -> Table:
    """Names by falling number, each with its share of all that wait."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(kind, overflow="fold")
    table.add_column("labels", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    rows = sorted(numbers.items(), key=lambda row: (-row[1], row[0]))
    shown, rest = rows[:_ROWS_MAX], rows[_ROWS_MAX:]
    if rest:
        shown.append((f"{len(rest)} more", sum(number for _, number in rest)))
    if num_untold:
        shown.append(("(not told)", num_untold))
    whole = max(sum(number for _, number in shown), 1)
    largest = max((number for _, number in shown), default=1) or 1
    for name, number in shown:
        drawn = Text("█" * round(number * BAR_WIDTH / largest), style="cyan")
        table.add_row(Text(name), f"{number:,}", f"{number / whole:.1%}", drawn)
    return table

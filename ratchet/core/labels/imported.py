"""What an import of a tool's file would land, and what it leaves out and why. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ratchet.core.labels.answers import label_text
from ratchet.core.labels.formats.items import WHY_TEXTS, LeftOut, Why
from ratchet.core.labels.queue_marks import QUEUE_MARK

EXAMPLES_MAX = 3
PLACES_MAX = 10
"""Of each reason, so many places are kept; all are counted."""


@dataclass
class ImportCounts:
    """Filled item by item, in the order of the file; holds no more than the examples and the places that are shown."""

    num_labels: int = 0
    num_corrections: int = 0
    """Labels that say that they correct another one."""
    num_queued: int = 0
    """Labels with a queue mark."""
    num_by_class: Counter[str] = field(default_factory=Counter)
    num_by_labeler: Counter[str] = field(default_factory=Counter)
    examples: list[Mapping[str, Any]] = field(default_factory=list)
    num_left_out: Counter[Why] = field(default_factory=Counter)
    places: dict[Why, list[LeftOut]] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any], *, is_number: bool) -> None:
        self.num_labels += 1
        self.num_corrections += line.get("corrects") is True
        self.num_queued += QUEUE_MARK in line
        self.num_by_labeler[str(line["labeler"])] += 1
        label = line["label"]
        if not is_number:
            self.num_by_class.update([label_text(tag) for tag in label] if isinstance(label, list) else [str(label)])
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(line)

    def leave_out(self, item: LeftOut) -> None:
        self.num_left_out[item.why] += 1
        kept = self.places.setdefault(item.why, [])
        if len(kept) < PLACES_MAX:
            kept.append(item)

    def left_out_rows(self) -> Sequence[Mapping[str, Any]]:
        """One row a reason, the errors first."""
        order = sorted(self.num_left_out, key=lambda why: (why != "wrong", list(WHY_TEXTS).index(why)))
        return [
            {
                "why": why,
                "text": WHY_TEXTS[why],
                "num": self.num_left_out[why],
                "items": [{"place": each.place, "reason": each.text} for each in self.places[why]],
            }
            for why in order
        ]

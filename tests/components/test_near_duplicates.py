"""validate: near copies under other ids are counted, named with both ids, and refused beyond the limit alone."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ratchet.core.labels.shards import Split, split_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.findings import Findings
from ratchet.tasks.spec import TaskSpec
from tests.components.data import QUALITY, Room

MAILS = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [{"name": "body", "type": "text"}],
        "output": {"type": "category", "classes": ["ham", "spam"]},
        "model": {"kind": "text"},
    }
)
PHOTOS = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [{"name": "photo", "type": "image", "width": 32, "height": 32}],
        "output": {"type": "category", "classes": ["ham", "spam"]},
        "model": {"kind": "image"},
    }
)
DRAW = np.random.default_rng(5)
WORDS = ["".join(DRAW.choice(list("abcdefghij"), 7)) for _ in range(700)]
BODIES = [" ".join(np.random.default_rng(at).choice(WORDS, 30)) for at in range(120)]


def named(split: Split, of: str) -> str:
    """An id in that split."""
    return next(name for name in (f"{of}-{number}" for number in range(1_000)) if split_of(name) == split)


def photo(seed: int, *, quality: int | None = None) -> dict[str, str]:
    small = np.random.default_rng(seed).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    picture = Image.fromarray(small).resize((32, 32), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    if quality:
        picture.save(file, "JPEG", quality=quality)
    else:
        picture.save(file, "PNG")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def push(room: Room, examples: Sequence[tuple[str, dict[str, Any]]], *, labeler: str = "ada") -> str:
    said = {"labeler": labeler, "labeled_at": "2026-01-31T09:00:00Z"}
    lines = [
        {**said, "id": name, "inputs": inputs, "label": ("ham", "spam")[at % 2]}
        for at, (name, inputs) in enumerate(examples)
    ]
    return room.labels.put_shard("digits", "\n".join(map(json.dumps, lines)).encode(), num_labels=len(lines))


def mails(rows: range, of: str = "mail") -> list[tuple[str, dict[str, Any]]]:
    return [(f"{of}-{row}", {"body": BODIES[row]}) for row in rows]


def edited(row: int) -> dict[str, Any]:
    words = BODIES[row].split()
    return {"body": " ".join([*words[:12], "entirely", *words[13:]])}


def reason_of(verdict: Verdict, check: str) -> Reason:
    return next(reason for reason in verdict.reasons if reason.check == check)


def found_of(room: Room, version: str, check: str) -> Any:
    found = Findings(room.objects, "ratchet").fetch(version)
    assert found is not None
    return next(finding for finding in found.found if finding.count.check == check)


@pytest.mark.parametrize("is_known_before", [False, True], ids=["in-the-batch", "of-an-accepted-version"])
def test_an_edited_text_of_a_training_example_in_the_test_split_is_named_with_both_ids(
    room: Room, is_known_before: bool
) -> None:
    train = named("train", "original")
    push(room, [(train, {"body": BODIES[0]}), *mails(range(1, 60))])
    if is_known_before:
        assert room.validate(room.ingest(MAILS)[0], spec=MAILS).verdict == "accepted"
    test = named("test", "edited")
    bad = push(room, [(test, edited(0)), *mails(range(60, 90))], labeler="bo <b>")
    version = room.ingest(MAILS)[0]
    verdict = room.validate(version, spec=MAILS)
    assert verdict.verdict == "accepted", verdict.summary()
    told = reason_of(verdict, "near leakage")
    assert (bad in told.text, told.limit, test in verdict.model_dump_json()) == (True, 0.1, False)
    (row,) = found_of(room, version, "near leakage").rows
    assert (row.id, row.labeler, row.shard) == (test, "bo <b>", bad)
    assert row.text == f"in test; nearly the same as '{train}' in train"
    page = Path(room.path("report.html")).read_text()
    assert test in page and train in page and "bo &lt;b&gt;" in page and "bo <b>" not in page


def test_more_near_copies_than_the_limit_are_refused_with_their_shard(room: Room) -> None:
    room_ids = [name for name, _ in mails(range(60))]
    push(room, mails(range(60)))
    copies = [
        (named("val" if split_of(name) == "train" else "train", f"copy-of-{name}"), edited(at))
        for at, name in enumerate(room_ids[:25])
    ]
    bad = push(room, copies, labeler="bo")
    verdict = room.validate(room.ingest(MAILS)[0], spec=MAILS)
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [bad])
    assert "are nearly the same in train and in val or test, under two ids" in verdict.summary()


def test_a_policy_without_a_limit_tells_and_refuses_nothing(room: Room) -> None:
    push(room, mails(range(40)))
    push(room, [(f"copy-{row}", edited(row)) for row in range(40)], labeler="bo")
    lenient = QUALITY.model_copy(update={"near_duplicate_ratio_max": None, "near_leaked_ratio_max": None})
    verdict = room.validate(room.ingest(MAILS)[0], lenient, MAILS)
    assert verdict.verdict == "accepted", verdict.summary()
    found = reason_of(verdict, "near duplicates").value
    assert isinstance(found, float) and found > 0.1


def test_short_answers_are_no_copies_of_each_other(room: Room) -> None:
    push(room, [(f"reply-{at}", {"body": f"{word}{'.' * (at % 3)}{at}"}) for at, word in enumerate(["yes", "ok"] * 40)])
    verdict = room.validate(room.ingest(MAILS)[0], spec=MAILS)
    assert (verdict.verdict, reason_of(verdict, "near duplicates").value) == ("accepted", 0)


def test_a_picture_that_was_saved_again_is_found(room: Room) -> None:
    push(room, [(f"photo-{at}", {"photo": photo(at)}) for at in range(60)])
    other: Split = "val" if split_of("photo-7") == "train" else "train"
    bad = push(room, [(named(other, "again"), {"photo": photo(7, quality=80)})], labeler="bo")
    version = room.ingest(PHOTOS)[0]
    verdict = room.validate(version, spec=PHOTOS)
    assert verdict.verdict == "accepted", verdict.summary()
    (row,) = found_of(room, version, "near leakage").rows
    assert (row.shard, "'photo-7'" in row.text) == (bad, True)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)

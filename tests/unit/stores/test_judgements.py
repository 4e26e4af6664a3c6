from ratchet.stores.judgements import Judgements
from tests.fakes.object_store import FakeObjectStore


def test_each_judgement_counts_once_however_often_its_step_is_repeated():
    judgements = Judgements(FakeObjectStore(), "ratchet")

    def note(task: str, challenger: str) -> int:
        return judgements.note(task, version=f"{task}/v1", challenger=challenger, champion="c")

    assert [note("digits", "a"), note("digits", "b"), note("digits", "b"), note("digits", "a")] == [0, 1, 1, 1]
    assert note("mails", "a") == 0, "another task has rows of its own"
    assert note("digits-2", "a") == 0, "and so has one whose name begins alike"
    assert note("digits", "d") == 2

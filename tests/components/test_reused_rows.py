"""`evaluate` and the journal of judgements: each challenger counts once, and a stated chance needs the count."""

from pathlib import Path

import pytest

from components.evaluate.step import evaluate_step
from ratchet.core.verdict import Reason
from ratchet.stores.judgements import Judgements
from tests.components.data import finished_steps
from tests.components.test_challenger import POLICY, World
from tests.fakes.model_server import FakeModelServer
from tests.fakes.object_store import FakeObjectStore
from tests.models import DIGITS, digits_model

REUSED = "test_rows_reused"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def judged(world: World, path: Path, judgements: Judgements | None, **rules: float) -> dict[str, Reason]:
    """Each time a run that finished nothing before: as after a kill."""
    verdict, _ = evaluate_step(
        DIGITS,
        world.manifest,
        path,
        policy=POLICY.model_copy(update=rules),
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        probe=FakeModelServer(),
        finished=finished_steps(),
        judgements=judgements,
    )
    return {reason.check: reason for reason in verdict.reasons}


def test_each_challenger_counts_once_however_often_it_is_judged(world: World, tmp_path: Path) -> None:
    judgements = Judgements(world.objects, "ratchet")
    paths = [tmp_path / name for name in ("one", "other")]
    for seed, path in enumerate(paths, 3):
        digits_model(path, seed=seed)
    counts = [judged(world, path, judgements)[REUSED].value for path in (*paths, *paths)]
    assert counts == [0, 1, 1, 1], "the first one again: the other has judged since"


def test_a_stated_chance_is_shared_out_and_refuses_where_nobody_counts(world: World, tmp_path: Path) -> None:
    digits_model(tmp_path / "model", seed=5)
    judgements = Judgements(FakeObjectStore(), "ratchet")
    checks = judged(world, tmp_path / "model", judgements, false_pass_max=0.05)
    assert checks[REUSED].passed and checks["non_inferiority_of_all"].limit == pytest.approx(0.025)
    uncounted = judged(world, tmp_path / "model", None, false_pass_max=0.05)
    assert not uncounted[REUSED].passed
    assert REUSED not in judged(world, tmp_path / "model", None)

"""The rooms of wiring: the front offers what they build, and a replaced builder reaches everybody who asks for it."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ratchet import wiring
from ratchet.core.errors import SettingsError
from ratchet.settings import Settings
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore
from tests.models import DIGITS, changed
from tests.wired import wire

ROOMS = tuple(module.name for module in pkgutil.iter_modules(wiring.__path__))


def builders_of(room: str) -> Iterator[str]:
    """The public functions that a room defines."""
    module = importlib.import_module(f"ratchet.wiring.{room}")
    for name, value in vars(module).items():
        is_function = inspect.isroutine(inspect.unwrap(value)) if callable(value) else False
        if is_function and inspect.getmodule(inspect.unwrap(value)) is module and not name.startswith("_"):
            yield name


def test_the_front_offers_what_the_rooms_build_and_nothing_else():
    assert sorted(name for room in ROOMS for name in builders_of(room)) == sorted(wiring.__all__)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_asks_another_by_its_name(room):
    """Never by a copy of its function: replacing that function would not reach the room."""
    module = sys.modules[f"ratchet.wiring.{room}"]
    copies = [name for name in vars(module) if name in wiring.__all__ and name not in set(builders_of(room))]
    assert not copies


def test_a_replaced_builder_reaches_the_front_its_own_room_and_the_others(monkeypatch):
    objects, ledger, clock, services = FakeObjectStore(), FakeLedger(), object(), object()
    wire(monkeypatch, object_store=lambda: objects, settings=lambda: Settings(ratchet_bucket="other"))
    wire(monkeypatch, ledger=lambda: ledger, clock=lambda: clock, inference_services=lambda: services)
    assert (wiring.verdicts().objects, wiring.verdicts().bucket) == (objects, "other")
    ports = wiring.serving_ports()
    assert (ports.ledger, ports.clock, ports.services) == (ledger, clock, services)


def test_what_was_built_before_is_built_anew(monkeypatch):
    wire(monkeypatch, object_store=FakeObjectStore, settings=Settings)
    before = wiring.ledger()
    assert wiring.ledger() is before
    wire(monkeypatch, object_store=FakeObjectStore)
    assert wiring.ledger() is not before


def test_a_name_that_wiring_has_not_is_refused(monkeypatch):
    with pytest.raises(AssertionError, match="no sotre"):
        wire(monkeypatch, sotre=lambda: None)


def test_tests_replace_builders_by_wire_alone():
    """Setting a name in the front would not reach the rooms."""
    tests = Path(__file__).parents[1]
    found = [path.name for path in tests.rglob("*.py") if "setattr(" + "wiring" in path.read_text()]
    assert not found, "use tests/wired.py"


def test_a_task_of_several_nodes_trains_in_a_folder_that_they_share(monkeypatch, tmp_path):
    spec = changed(DIGITS, {"training": {**DIGITS.training.model_dump(), "world_size": 2, "num_nodes": 2}})
    known = {"kubernetes_endpoint": "http://127.0.0.1:1", "kubernetes_token": SecretStr("t")}
    wire(monkeypatch, settings=lambda: Settings(**known), task_spec=lambda name: spec)
    with pytest.raises(SettingsError, match="RATCHET_TRAINING_DIR is not set"):
        wiring.learner("digits", "run-1")
    shared = tmp_path / "shared"
    wire(monkeypatch, settings=lambda: Settings(**known, training_dir=str(shared)))
    with wiring.learner("digits", "run-1").scratch() as scratch:
        assert Path(scratch).parent == shared

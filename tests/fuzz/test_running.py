"""What every fuzzer relies on: the same seed makes the same inputs, and a failure names the input that repeats it."""

import ast
import copy
from pathlib import Path

import pytest

from tests.fuzz.hostile import hostile_value, json_bytes, mangled, mutated, nested
from tests.fuzz.running import fuzz


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make test` runs it, also where the environment asks for another seed, input or time."""
    for name in ("FUZZ_SECONDS", "FUZZ_INPUT"):
        monkeypatch.delenv(name, raising=False)


TREE = {"a": [1, {"b": "text"}], "c": None}


def test_a_seed_makes_the_same_inputs_every_time() -> None:
    seen: list[list[str]] = []
    for _ in range(2):
        inputs: list[str] = []
        fuzz(
            lambda rng: repr((hostile_value(rng), mutated(rng, TREE), mangled(rng, b"{}"))),
            inputs.append,
            num_inputs=50,
        )
        seen.append(inputs)
    assert seen[0] == seen[1] and len(set(seen[0])) > 25


def test_every_failure_is_reported_once_by_kind_with_the_input_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(number: int) -> None:
        assert number != 3, "three"
        if number > 7:
            raise KeyError(number)

    with pytest.raises(AssertionError, match=r"\d+ of 60 inputs failed in 2 ways") as caught:
        fuzz(lambda rng: rng.randrange(10), check, num_inputs=60)
    text = str(caught.value)
    assert "three" in text and "KeyError" in text
    number = text.partition("FUZZ_INPUT=")[2].partition(":")[0]
    monkeypatch.setenv("FUZZ_INPUT", number)
    with pytest.raises(AssertionError, match="1 of 1 inputs failed"):
        fuzz(lambda rng: rng.randrange(10), check, num_inputs=60)


def test_a_failing_input_can_be_pasted_into_a_test_however_long_it_is() -> None:
    def failing(made: object) -> str:
        with pytest.raises(AssertionError) as caught:
            fuzz(lambda rng: made, lambda _: 1 / 0, num_inputs=1)
        return str(caught.value)

    short = {"a": "\ud800", "b": [b"\xff", None]}
    assert ast.literal_eval(failing(short).partition("  input ")[2]) == short
    long = b"\xff[" * 5_000
    path = Path(failing(long).partition("  input is in ")[2].partition(" (")[0])
    assert ast.literal_eval(path.read_text()) == long
    path.unlink()


def test_time_ends_a_fuzzer_and_the_environment_lengthens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fuzz(lambda rng: None, lambda _: None, num_inputs=10**9, seconds_max=0.02) < 10**9
    monkeypatch.setenv("FUZZ_SECONDS", "0.05")
    assert fuzz(lambda rng: None, lambda _: None, num_inputs=1) > 1


def test_a_mutation_leaves_the_original_alone_and_writes_as_json() -> None:
    before = copy.deepcopy(TREE)

    def check(tree: object) -> None:
        assert json_bytes(tree) and before == TREE

    fuzz(lambda rng: mutated(rng, TREE, num_changes=3), check, num_inputs=200)
    assert json_bytes(nested(3)) == b"[[[1]]]"

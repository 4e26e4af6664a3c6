"""Whatever a configuration file holds, it is a value or a PolicyError with file and line."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ratchet import wiring
from ratchet.config_files import load_model, load_yaml
from ratchet.core.digest import digest_of
from ratchet.core.errors import PolicyError
from ratchet.core.runs import TriggerPolicy
from ratchet.settings import Settings, load_settings
from sensors.label_sensor.policies import PolicyFiles
from tests.conftest import PROJECT_DIR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trigger.yaml"


@pytest.mark.parametrize(
    ("data", "line", "told"),
    [
        pytest.param(b"a: 1\nb: .inf\n", 2, ".inf is not a finite number", id="infinite"),
        pytest.param(b"a: 1\n\nb: [1, .NaN]\n", 3, ".NaN is not a finite number", id="nan"),
        pytest.param(b"a: 1e999\n", None, None, id="a-text-for-yaml"),
        pytest.param(b"a: 1.0e+999\n", 1, "1.0e+999 is not a finite number", id="overflow"),
        pytest.param(b"a: 1\nb: 2026-02-30\n", 2, "'2026-02-30' is not a valid date", id="no-such-day"),
        pytest.param(b"a: 2026-01-31 25:00:00\n", 1, "is not a valid date", id="no-such-hour"),
        pytest.param(b"a: !!bool x\n", 1, "'x' is not a valid bool", id="no-bool"),
        pytest.param(b"a: !!int x\n", 1, "'x' is not a valid int", id="no-int"),
        pytest.param(b"a: !!float x\n", 1, "'x' is not a valid float", id="no-float"),
        pytest.param(b"a: !!timestamp x\n", 1, "'x' is not a valid date", id="no-timestamp"),
        pytest.param(b"a: " + b"9" * 5000, 1, "5,000 characters; limit 400", id="more-digits-than-python-reads"),
        pytest.param(b"a: 1" + b":59" * 300_000, 1, "900,001 characters; limit 400", id="base-60-without-an-end"),
        pytest.param(b"a: 0x" + b"f" * 390, 1, "is larger than 1.8e+308", id="more-than-a-float-holds"),
        pytest.param(b"a:\n  " + b"[" * 1000 + b"]" * 1000, 2, "more than 60 levels", id="brackets"),
        pytest.param(b"a:\n  " + b"[" * 1000, 2, "more than 60 levels", id="brackets-without-end"),
        pytest.param(b"".join(b" " * n + b"a:\n" for n in range(1000)), 60, "more than 60 levels", id="indented"),
        pytest.param(b'a: 1\nb: "\\ud800"\n', 2, "half of a surrogate pair", id="surrogate"),
        pytest.param(b'a: 1\n"\\udfff": 1\n', 2, "half of a surrogate pair", id="surrogate-in-a-key"),
        pytest.param("a: 1\nb: café\n".encode("latin-1"), 2, "0xE9 is not UTF-8", id="latin-1"),
        pytest.param(b"a: 1\nb: \x00\n", 2, "U+0000 is not allowed", id="nul"),
        pytest.param(b"a: [1\nb: 2\n", 2, "expected", id="syntax"),
        pytest.param(b"a: 1\n---\nb: 1\n", 2, "another document", id="two-documents"),
        pytest.param(b"a: !!binary aGk=\n", 1, "could not determine a constructor", id="binary"),
        pytest.param(b"a: !!set {x}\n", 1, "could not determine a constructor", id="set"),
        pytest.param(b"a: !!python/object/apply:os.system [ls]\n", 1, "could not determine", id="python"),
        pytest.param(b"a:\n  no: 1\n", 2, "YAML reads the key no as False; put it in quotes", id="key-no"),
        pytest.param(b"? [1]\n: 1\n", 1, "", id="key-list"),
        pytest.param(b"a: *b\n", 1, "undefined alias", id="alias-of-nothing"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(path: Path, data: bytes, line: int | None, told: str | None) -> None:
    path.write_bytes(data)
    if line is None:
        assert load_yaml(path) == {"a": "1e999"}
        return
    with pytest.raises(PolicyError) as refused:
        load_yaml(path)
    text = str(refused.value)
    assert text.startswith(f"{path}, line {line}: ") and told is not None and told in text and "\n" not in text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &x [*x]\n", id="itself"),
        pytest.param(
            "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), id="laughs"
        ),
    ],
)
def test_aliases_without_end_are_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(PolicyError, match="100,000 values"):
        load_yaml(path)


def test_dates_stay_text_and_keys_sort(path: Path) -> None:
    lines = ("\ufeffsince: 2026-01-31", "at: 2026-01-31 12:00:00", "per: {cat: 1, 4: 2}", "ints: {10: 1, 4: 2}")
    path.write_text("\n".join((*lines, "x: &x {y: 1}", "z: *x")))
    value = load_yaml(path)
    assert value["since"] == "2026-01-31" and value["at"] == "2026-01-31 12:00:00"
    assert value["per"] == {"cat": 1, "4": 2} and value["ints"] == {10: 1, 4: 2} and value["z"] == {"y": 1}
    assert len(digest_of(value)) == 64


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's configuration, to which the test adds tasks that are broken."""
    folder = tmp_path / "configs"
    shutil.copytree(PROJECT_DIR / "configs", folder)
    monkeypatch.setenv("RATCHET_CONFIGS_DIR", str(folder))
    load_settings.cache_clear()
    wiring.task_spec.cache_clear()
    yield folder
    load_settings.cache_clear()
    wiring.task_spec.cache_clear()


def test_a_broken_file_of_one_task_harms_no_other(configs: Path) -> None:
    (configs / "tasks" / "broken.yaml").write_bytes(b"name: [" + b"[" * 1000 + b"\xe9")
    (configs / "tasks" / "gone.yaml").symlink_to(configs / "nowhere")
    (configs / "schedules.yaml").write_text(
        "schedules:\n"
        "  - {name: one, pipeline: drift-monitor, task: digits, cron: '@daily'}\n"
        "  - {name: two, pipeline: drift-monitor, task: broken, cron: '@daily'}\n"
    )
    files = PolicyFiles()
    for _ in range(2):
        for task in ("broken", "gone"):
            with pytest.raises(PolicyError, match=rf"{task}\.yaml"):
                files.fetch(task)
        assert files.fetch("digits").classes
    wanted = wiring.wanted_schedules()
    assert wanted is not None and [each.name for each in wanted] == ["one", "two"]
    (configs / "tasks" / "broken.yaml").unlink()
    with pytest.raises(PolicyError, match=r"There is no task 'broken' .* known: digits, gone"):
        wiring.wanted_schedules()


def test_a_folder_and_a_missing_file_are_told(tmp_path: Path) -> None:
    for path, told in ((tmp_path, "cannot be read"), (tmp_path / "gone.yaml", "is not there")):
        with pytest.raises(PolicyError, match=told):
            load_yaml(path)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        pytest.param("threshold: 5\ncooldown_s: -1\n", 2, "`cooldown_s` must be at least 0, found -1", id="bound"),
        pytest.param(
            "when:\n  any:\n    - threshold: 5\n    - labels_min: x\n",
            4,
            "`when.any[1].labels_min` must be a whole number, found 'x'",
            id="deep",
        ),
        pytest.param("treshold: 5\n", 1, "`treshold` is not a known field; did you mean `threshold`?", id="misspelt"),
        pytest.param("", None, "the file must be an object (`field: value`), found null", id="empty"),
        pytest.param(
            "- threshold: 5\n", None, "the file must be an object (`field: value`), found a list of 1", id="list"
        ),
    ],
)
def test_a_wrong_field_names_its_line(path: Path, text: str, line: int | None, told: str) -> None:
    path.write_text(text)
    with pytest.raises(PolicyError) as refused:
        load_model(path, TriggerPolicy)
    where = f"{path}, line {line}" if line else str(path)
    assert str(refused.value) == f"{where}: {told}. Correct the file; TriggerPolicy lists its fields."


ANY: Any = st.one_of(
    st.binary(max_size=60), st.text("{}[]:-#&*!?|>%@`\"'\n \\.~0123456789abeflnostu\ud800é", max_size=60)
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY)
@example("!!null x: [")
@example("a: !!map [1]")
@example("a: !!seq {b: c}")
@example("a: !!str [1]")
@example("<<: 1")
@example("a: =")
def test_no_file_is_a_traceback(path: Path, data: bytes | str) -> None:
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    try:
        digest_of(load_yaml(path))
        load_model(path, TriggerPolicy)
    except PolicyError as error:
        assert str(error).isprintable()


def test_a_policy_that_the_folder_lacks_is_the_one_that_ratchet_comes_with(configs: Path) -> None:
    with_it = wiring.policy_digest("digits")
    (configs / "policies" / "trigger.yaml").unlink()
    assert wiring.policy_digest("digits") == with_it
    (configs / "policies" / "own.yaml").unlink(missing_ok=True)
    task = configs / "tasks" / "digits.yaml"
    task.write_text(task.read_text() + "\npolicies: {trigger: own.yaml}\n")
    wiring.task_spec.cache_clear()
    with pytest.raises(PolicyError, match=r"own\.yaml"):
        wiring.policy_digest("digits")


def test_without_a_folder_of_configs_the_packaged_ones_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (Settings().configs_dir / "tasks" / "digits.yaml").is_file()
    (tmp_path / "configs").mkdir()
    assert Settings().configs_dir == Path("configs")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=-(10**900), max_value=10**900), st.sampled_from(("d", "x", "o", "b")))
def test_every_whole_number_that_is_read_fits_into_json_and_a_float(path: Path, number: int, form: str) -> None:
    prefix = {"d": "", "x": "0x", "o": "0", "b": "0b"}[form]
    path.write_text(f"a: 1\nb: {'-' * (number < 0)}{prefix}{abs(number):{form}}\n")
    try:
        value = load_yaml(path)["b"]
    except PolicyError as error:
        assert f"{path}, line 2: " in str(error)
    else:
        assert value == number
        assert digest_of({"b": value}) and float(value) is not None

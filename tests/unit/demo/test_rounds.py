"""The data packages of the two-round tasks, and their measures."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from demo import rounds
from demo.rounds import packages, sentiment
from demo.rounds.data import Row, accuracy, f1_of, macro_f1, rmse, roc_auc_of, shuffled
from demo.rounds.packages import Package, fetch_package
from ratchet.core.errors import DataRejected, NotFound, Unavailable
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.tasks.kinds.options import TRAINING_OF
from ratchet.tasks.spec import TaskSpec

CONTENT = b"an archive"
PACKAGE = Package("npm", "@scope/data", "1.0", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called npm that says what it packs in a file beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "npm"
    program.write_text(
        f'#!/bin/sh\necho run >> {folder}/runs\n[ -f {folder}/content ] || {{ echo "404 Not Found" >&2; exit 1; }}\n'
        f'cp {folder}/content "$4/packed.tgz"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_a_package_is_fetched_once(npm: Path) -> None:
    (npm / "content").write_bytes(CONTENT)
    first = fetch_package(PACKAGE)
    assert first.read_bytes() == fetch_package(PACKAGE).read_bytes() == CONTENT
    assert (npm / "runs").read_text() == "run\n"


def test_a_damaged_cache_is_fetched_again(npm: Path) -> None:
    (npm / "content").write_bytes(CONTENT)
    fetch_package(PACKAGE).write_bytes(b"half")
    assert fetch_package(PACKAGE).read_bytes() == CONTENT


def test_another_archive_of_the_same_name_is_refused_and_not_kept(npm: Path, tmp_path: Path) -> None:
    (npm / "content").write_bytes(b"another one")
    with pytest.raises(DataRejected, match="is not the one with sha256"):
        fetch_package(PACKAGE)
    assert not list((tmp_path / "cache").rglob("*.tgz"))


def test_a_registry_that_does_not_have_it_is_named_with_its_words(npm: Path) -> None:
    with pytest.raises(Unavailable, match=r"@scope/data 1.0 cannot be fetched from npm: 404 Not Found"):
        fetch_package(PACKAGE)


def test_without_npm_the_next_step_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages.shutil, "which", lambda _: None)
    with pytest.raises(NotFound, match="apt install npm"):
        fetch_package(PACKAGE)


def sentences() -> bytes:
    """The package's archive: an archive of tables lies in it."""
    ratings = ["1\t1.5\t1.0\t[4, -1, 0, 3]", "2\t9.9\t0.5\t[-2, -3, 0]", "3\t0\t0\t[0, 0, 0]"]
    tables = {
        "hutto/tweets_GroundTruth.txt": "\ufeff1\t1.5\tYay :)\n2\t-2.0\tDie\tdie\n3\t0.0\t \n",
        "hutto/tweets_anonDataRatings.txt": "\ufeff" + "\n".join(ratings),
        "hutto/vader_sentiment_lexicon.txt": "x",
    }
    inner = packed({name: text.encode() for name, text in tables.items()})
    return packed({"vader/additional_resources/hutto_ICWSM_2014.tar.gz": inner, "vader/setup.py": b""})


def packed(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def test_a_sentence_has_its_raters_opinions_and_the_mean_of_all_as_its_truth() -> None:
    with tarfile.open(fileobj=io.BytesIO(sentences())) as archive:
        rows = list(sentiment.read_rows(sentiment.read_files(archive), ("tweets",)))
    assert [(row.id, row.inputs["sentence"], row.label) for row in rows] == [
        ("tweets/1", "Yay :)", "positive"), ("tweets/2", "Die\tdie", "negative")], "no text, no example"  # fmt: skip
    assert rows[0].said == {"rater-1": "positive", "rater-2": "negative", "rater-3": "neutral"}
    lines = [json.loads(line) for line in rows[0].lines()]
    assert [(line["labeler"], line["label"]) for line in lines] == list(rows[0].said.items())
    assert [json.loads(line)["labeler"] for line in Row("a", {}, "x").lines()] == ["corpus"]


@pytest.mark.parametrize(
    ("rating", "feeling"),
    [(0.5, "positive"), (0.49, "neutral"), (-0.49, "neutral"), (-0.5, "negative"), (4, "positive")],
)
def test_a_rating_is_neutral_between_minus_a_half_and_a_half(rating: float, feeling: str) -> None:
    assert sentiment.feeling_of(rating) == feeling


def test_measures_of_answers() -> None:
    labels = ["a", "b", "b", "a"]
    answers = [{"label": name, "probability": sure} for name, sure in [("a", 0.9), ("b", 0.8), ("a", 0.6), ("a", 0.7)]]
    assert accuracy(labels, answers) == 0.75
    assert f1_of("b")(labels, answers) == pytest.approx(2 / 3)
    assert macro_f1(labels, answers) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert roc_auc_of("b")(labels, answers) == 1.0
    assert rmse([1.0, 2.0], [{"label": 1.0}, {"label": 4.0}]) == pytest.approx(2**0.5)


def test_rows_are_in_one_order_for_all_times() -> None:
    rows = [Row(str(number), {}, "a") for number in range(9)]
    assert [row.id for row in shuffled(rows)] == [row.id for row in shuffled(rows)] != [row.id for row in rows]


def test_a_quick_look_asks_less_of_its_canary_and_trains_as_the_kind_does_with_one_worker() -> None:
    """`digits-png` needs no package."""
    quick, whole = (rounds.load("digits-png", size=size) for size in ("quick", "whole"))
    asked, default = RolloutPolicy.model_validate(quick.policies["rollout"]), RolloutPolicy()
    assert (asked.dark_requests, asked.latency_limit_ms) == (100, 200.0) and default.dark_requests == 500
    assert RolloutPolicy.model_validate(whole.policies["rollout"]).dark_requests == 500
    assert asked.on_disagreement == "ignore", "the task's own changes stay"
    training = TaskSpec.model_validate(quick.task).training
    assert (training.world_size, training.num_epochs) == (1, TRAINING_OF["image"]["num_epochs"])
    assert "training" not in whole.task

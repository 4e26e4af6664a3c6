"""One list from the ledger and the registry: what is missing in either costs a row its details, never the row."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.models.ledger import LedgerEntry, LedgerKind, ModelRef, champion_of, previous_of
from ratchet.core.models.registered import (
    REASON_TAG,
    STATE_TAG,
    KnownModel,
    find_model,
    find_of_commit,
    merge_models,
    plan_aliases,
    plan_tags,
)
from ratchet.core.ports import ModelVersion

NOON = datetime(2026, 1, 1, tzinfo=UTC)


def ref(number: int, *, version: str | None = None) -> ModelRef:
    digest = f"{number:x}" * 64
    return ModelRef(
        version=str(number) if version is None else version,
        digest=digest,
        uri=f"s3://models/t/{digest}",
        dataset_version="t/v1",
    )


def ledger(*events: tuple[LedgerKind, int]) -> list[LedgerEntry]:
    """Promotions, refusals of a canary, and rollbacks of the champion to the one before."""
    entries: list[LedgerEntry] = []
    for seq, (kind, number) in enumerate(events, 1):
        champion = champion_of(entries)
        if kind == "promoted":
            champion = ref(number)
        elif kind == "rolled_back" and champion == ref(number):
            champion = previous_of(entries) or champion
        entries.append(
            LedgerEntry(
                seq=seq, task="t", kind=kind, model=ref(number), champion=champion, reason="", run_id=str(seq), at=NOON
            )
        )
    return entries


def registered(numbers: Sequence[int], *, first: int | None = None) -> list[ModelVersion]:
    """Versions of these models; with `first` they are numbered from there, else as the ledger numbers them."""
    return [
        ModelVersion(
            version=str(number if first is None else first + index),
            uri=ref(number).uri,
            tags={"dataset_version": "t/v1"},
            metrics={"test_accuracy": 0.9},
            registered_at=NOON,
        )
        for index, number in enumerate(numbers)
    ]


ENTRIES = ledger(("promoted", 1), ("promoted", 2), ("rolled_back", 3), ("promoted", 4))
ALIASES = {"champion": "4", "previous": "2", "challenger": "5"}


def row(model: KnownModel) -> tuple[str, str, bool, bool]:
    return model.version, model.role, model.is_refused, model.is_registered


@pytest.mark.parametrize(
    ("versions", "rows"),
    [
        pytest.param(
            registered([1, 2, 3, 4, 5]),
            [
                ("1", "", False, True),
                ("2", "previous", False, True),
                ("3", "", True, True),
                ("4", "champion", False, True),
                ("5", "", False, True),
            ],
            id="all-is-well",
        ),
        pytest.param(
            registered([1, 3, 5]),
            [
                ("1", "", False, True),
                ("2", "previous", False, False),
                ("3", "", True, True),
                ("4", "champion", False, False),
                ("5", "", False, True),
            ],
            id="versions-were-deleted",
        ),
        pytest.param(
            [],
            [
                ("1", "", False, False),
                ("2", "previous", False, False),
                ("3", "", True, False),
                ("4", "champion", False, False),
            ],
            id="the-model-was-deleted",
        ),
        pytest.param(
            registered([5, 2], first=1),
            [
                ("1", "", False, False),
                ("1", "", False, True),
                ("2", "previous", False, True),
                ("3", "", True, False),
                ("4", "champion", False, False),
            ],
            id="versions-count-from-one-again",
        ),
    ],
)
def test_the_ledger_says_who_serves_whatever_the_registry_lost(
    versions: list[ModelVersion], rows: list[tuple[str, str, bool, bool]]
) -> None:
    assert [row(model) for model in merge_models(ENTRIES, versions, ALIASES)] == rows


def test_an_alias_that_was_moved_by_hand_makes_no_champion() -> None:
    models = merge_models(ENTRIES, registered([1, 2, 3, 4]), {"champion": "1", "mine": "2"})
    assert {model.version: (model.role, model.aliases) for model in models} == {
        "1": ("", ()),
        "2": ("previous", ("mine",)),
        "3": ("", ()),
        "4": ("champion", ()),
    }


@pytest.mark.parametrize(
    ("versions", "aliases", "changes"),
    [
        pytest.param([1, 2, 3, 4], {"champion": "4", "previous": "2"}, {}, id="they-agree"),
        pytest.param([1, 2, 3, 4], {}, {"champion": "4", "previous": "2"}, id="aliases-are-gone"),
        pytest.param([1, 2, 3, 4], {"champion": "1", "previous": "2"}, {"champion": "4"}, id="moved-by-hand"),
        pytest.param([1, 2, 3], {"champion": "3", "previous": "2"}, {"champion": ""}, id="the-champion-is-gone"),
        pytest.param([1, 2, 3], {"previous": "2"}, {}, id="no-alias-of-what-is-gone"),
        pytest.param([1, 2, 3, 4], ALIASES | {"challenger": "3"}, {"challenger": ""}, id="a-refused-challenger"),
        pytest.param([], {}, {}, id="the-model-is-gone"),
    ],
)
def test_aliases_follow_the_ledger(versions: list[int], aliases: Mapping[str, str], changes: dict[str, str]) -> None:
    planned = plan_aliases(ENTRIES, registered(versions), aliases)
    assert {change.alias: change.wanted for change in planned} == changes
    for change in planned:
        assert change.found != change.wanted
        assert "ledger" in change.text


def test_renumbered_versions_are_told_apart_by_their_model() -> None:
    """Version 1 of MLflow is the ledger's version 4 here."""
    planned = plan_aliases(ENTRIES, registered([4, 2], first=1), {"champion": "2"})
    assert {change.alias: change.wanted for change in planned} == {"champion": "1", "previous": "2"}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        pytest.param("3", "3", id="version"),
        pytest.param("44444444", "4", id="beginning-of-a-digest"),
        pytest.param("2" * 64, "2", id="digest"),
        pytest.param("7", "2", id="number-of-the-registry"),
        pytest.param("2", "2", id="number-of-the-ledger"),
    ],
)
def test_a_model_has_every_name_that_people_read(name: str, digest: str) -> None:
    models = merge_models(ENTRIES, registered([2], first=7), {})
    assert find_model(models, name, task="t").digest == digest * 64


def test_a_name_of_two_models_is_refused_with_both_digests() -> None:
    models = merge_models(ENTRIES, registered([5], first=1), {})
    with pytest.raises(DataRejected, match=r"t/111111111111, t/555555555555"):
        find_model(models, "1", task="t")


@pytest.mark.parametrize("name", ["9", "", "3333", "f" * 12])
def test_an_unknown_name_says_what_is_known(name: str) -> None:
    with pytest.raises(NotFound, match="known: 1, 2, 3, 4"):
        find_model(merge_models(ENTRIES, [], {}), name, task="t")


kinds: st.SearchStrategy[LedgerKind] = st.sampled_from(["promoted", "rolled_back", "withdrawn", "allowed"])
histories = st.lists(st.tuples(kinds, st.integers(1, 6)), max_size=12)
subsets = st.lists(st.integers(1, 9), unique=True, max_size=9)
aliases_of = st.dictionaries(
    st.sampled_from(["champion", "previous", "challenger", "mine"]), st.integers(1, 9).map(str), max_size=4
)


@given(histories, subsets, st.none() | st.integers(1, 3), aliases_of)
def test_every_model_is_listed_once_with_the_role_that_the_ledger_gives_it(
    events: list[tuple[LedgerKind, int]], numbers: list[int], first: int | None, aliases: dict[str, str]
) -> None:
    entries, versions = ledger(*events), registered(numbers, first=first)
    models = merge_models(entries, versions, aliases)
    uris = [model.uri for model in models]
    assert sorted(uris) == sorted({*(entry.model.uri for entry in entries), *(found.uri for found in versions)})
    for role, expected in (("champion", champion_of(entries)), ("previous", previous_of(entries))):
        assert [model.uri for model in models if model.role == role] == ([expected.uri] if expected else [])


@given(histories, subsets, st.none() | st.integers(1, 3), aliases_of)
def test_aliases_that_were_set_right_stay_right(
    events: list[tuple[LedgerKind, int]], numbers: list[int], first: int | None, aliases: dict[str, str]
) -> None:
    entries, versions = ledger(*events), registered(numbers, first=first)
    aligned = dict(aliases)
    for change in plan_aliases(entries, versions, aliases):
        aligned.pop(change.alias, None)
        if change.wanted:
            aligned[change.alias] = change.wanted
    assert plan_aliases(entries, versions, aligned) == ()
    assert {name: at for name, at in aligned.items() if name == "mine"} == {
        name: at for name, at in aliases.items() if name == "mine"
    }


@pytest.mark.parametrize(
    ("found", "rolled_out", "wanted"),
    [
        pytest.param("", 5, "5", id="deleted-while-it-is-rolled-out"),
        pytest.param("2", 5, "5", id="moved-while-another-is-rolled-out"),
        pytest.param("5", 5, None, id="as-it-should-be"),
        pytest.param("5", None, None, id="registered-and-waiting"),
        pytest.param("", 6, None, id="rolled-out-and-not-registered"),
        pytest.param("3", None, "", id="refused"),
    ],
)
def test_the_challenger_is_the_model_of_the_open_rollout(
    found: str, rolled_out: int | None, wanted: str | None
) -> None:
    aliases = {"champion": "4", "previous": "2", **({"challenger": found} if found else {})}
    versions = registered([1, 2, 3, 4, 5])
    challenger = ref(rolled_out) if rolled_out else None
    changes = plan_aliases(ENTRIES, versions, aliases, challenger=challenger)
    assert [(change.alias, change.wanted) for change in changes] == ([] if wanted is None else [("challenger", wanted)])


def test_each_version_is_tagged_with_what_the_ledger_last_said_of_it() -> None:
    entries = [entry.model_copy(update={"reason": f"why {entry.seq}"}) for entry in ENTRIES]
    versions = registered([1, 2, 3, 4, 5])
    tags = {change.version: change.tags for change in plan_tags(entries, versions)}
    assert tags["3"] == {STATE_TAG: "rolled back", REASON_TAG: "why 3"}
    assert {version: each[STATE_TAG] for version, each in tags.items()} == {
        "1": "promoted", "2": "promoted", "3": "rolled back", "4": "promoted",
    }  # fmt: skip
    told = [
        version.model_copy(update={"tags": {**version.tags, **tags.get(version.version, {})}}) for version in versions
    ]
    assert plan_tags(entries, told) == (), "once"


def test_a_reason_is_cut_and_then_stays() -> None:
    long = [entry.model_copy(update={"reason": "x" * 9999}) for entry in ledger(("promoted", 1))]
    (change,) = plan_tags(long, registered([1]))
    assert len(change.tags[REASON_TAG]) == 500
    tagged = registered([1])[0].model_copy(update={"tags": change.tags})
    assert plan_tags(long, [tagged]) == ()


def test_a_commit_finds_its_models_and_a_short_one_is_refused() -> None:
    known = [
        model.model_copy(update={"tags": {"git_commit": f"{number}" * 40}})
        for number, model in enumerate(merge_models(ENTRIES, registered([1, 2]), {}))
    ]
    assert [model.name for model in find_of_commit(known, "1" * 7)] == [known[1].name]
    with pytest.raises(DataRejected, match="too short"):
        find_of_commit(known, "1" * 6)

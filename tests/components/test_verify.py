"""The chain from shards to promotion: a changed byte anywhere is refused by the name of its link."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.register.step import Lineage, Signing, register_step
from ratchet.actions.models.files import StoredModelFiles
from ratchet.actions.models.promotions import promote, record_refusal
from ratchet.actions.models.verifying import ChainLink, VerifyPorts, is_refused, verify_model
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import DataRejected
from ratchet.core.labels.dataset import DatasetShard, Manifest, md5_of
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.models.registered import find_model, merge_models
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.decisions import Decisions
from ratchet.stores.ledger import S3Ledger
from ratchet.stores.models import ModelFolders
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.registry import FakeRegistry
from tests.keys import OTHER_SIGNER, SIGNER, TRUSTED
from tests.models import DIGITS, digits_model

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HELD = Reason(check="accuracy", value=0.9, limit=0.5, passed=True, text="90 % right, at least 50 %")
SHARD = b"rows"
MANIFEST = Manifest(
    version="digits/v1",
    parent=None,
    num_labels=4,
    num_labels_by_class={"0": 4},
    watermark="digits/2026/01/01/a.jsonl",
    shards=(
        DatasetShard(
            path="shards/v1-train.parquet",
            num_rows=4,
            sha256=digest_of_bytes(SHARD),
            md5=md5_of(SHARD),
            split="train",
        ),
    ),
)
LINEAGE = Lineage("digits/v1", "run-1", "key-1", "p" * 64, "c" * 40, "image:1")


@dataclass
class Chain:
    """One model of a task from its labels to its promotion, all signed."""

    folder: Path
    objects: FakeObjectStore = field(default_factory=FakeObjectStore)
    datasets: FakeDatasetStore = field(default_factory=FakeDatasetStore)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    uri: str = ""

    @property
    def ledger(self) -> S3Ledger:
        """Of a process that has read nothing yet."""
        return S3Ledger(self.objects, "ratchet", signer=SIGNER)

    @property
    def decisions(self) -> Decisions:
        return Decisions(self.objects, "ratchet")

    def files(self) -> StoredModelFiles:
        return StoredModelFiles(self.objects, TRUSTED, is_signature_required=True)

    def register(self, verdict: Verdict | None = None, *, signed: bool = True) -> ModelRef:
        digest = digits_model(self.folder / "model")
        (self.folder / "model" / "lineage.json").write_text('{"torch": "2"}')
        judged = Verdict(kind="evaluate", verdict="passed", reasons=(HELD,), inputs={"challenger": digest})
        files = self.files() if signed else StoredModelFiles(self.objects, TRUSTED)
        version, self.uri, _ = register_step(
            DIGITS,
            self.folder / "model",
            verdict=verdict or judged,
            metrics={"test_accuracy": 0.9},
            lineage=LINEAGE,
            models=ModelFolders(self.objects, "models"),
            registry=self.registry,
            signing=Signing(SIGNER if signed else None, MANIFEST, files),
        )
        return ModelRef(version=version, digest=digest, uri=self.uri, dataset_version="digits/v1")

    def promote(self, model: ModelRef) -> None:
        decided = Verdict(kind="rollout", verdict="promoted", reasons=(HELD,))
        digest = self.decisions.put(decided, task="digits", run_id="run-1")
        promote(
            self.ledger,
            task="digits",
            model=model,
            expected=(),
            reason="better",
            run_id="run-1",
            now=NOON,
            verdict_digest=digest,
        )

    def verify(self, path: Path, *, is_with_data: bool = True) -> dict[str, ChainLink]:
        ports = VerifyPorts(self.objects, lambda: self.datasets, self.ledger, self.decisions, TRUSTED)
        entries = () if not self._is_ledger_readable() else self.ledger.list_entries("digits")
        known = merge_models(entries, self.registry.list_versions("digits"), {})
        links = verify_model(
            find_model(known, "1", task="digits"), ports, task="digits", path=path, is_with_data=is_with_data
        )
        return {link.link: link for link in links}

    def _is_ledger_readable(self) -> bool:
        try:
            self.ledger.list_entries("digits")
        except DataRejected:
            return False
        return True


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    chain = Chain(tmp_path)
    chain.datasets.commit_version(MANIFEST, {"shards/v1-train.parquet": SHARD})
    chain.promote(chain.register())
    return chain


def flip(chain: Chain, uri: str, place: int = -20) -> None:
    data = bytearray(chain.objects.fetch(uri))
    data[place] ^= 1
    chain.objects.put(uri, bytes(data))


def refused_in(links: dict[str, ChainLink]) -> set[str]:
    return {name for name, link in links.items() if link.state == "refused"}


def test_a_whole_chain_holds_in_every_link(chain: Chain, tmp_path: Path) -> None:
    links = chain.verify(tmp_path / "found")
    assert list(links) == ["shards", "dataset version", "run", "model", "verdict", "promotion"]
    assert {link.state for link in links.values()} == {"ok"}, links
    assert not is_refused(tuple(links.values()), is_signature_required=True)


@pytest.mark.parametrize(
    ("name", "links"),
    [
        pytest.param("model.safetensors", {"model"}, id="weights"),
        pytest.param("task.json", {"model"}, id="task"),
        pytest.param("MODEL_CARD.md", {"model"}, id="card"),
        pytest.param("lineage.json", {"model"}, id="lineage"),
        pytest.param("verdict.json", {"model", "verdict"}, id="verdict"),
        pytest.param("provenance.json", {"model", "shards", "dataset version", "run", "verdict"}, id="provenance"),
        pytest.param("model.sig", {"model"}, id="signature"),
    ],
)
def test_a_flipped_byte_of_each_file_is_named(chain: Chain, tmp_path: Path, name: str, links: set[str]) -> None:
    flip(chain, f"{chain.uri}/{name}", place=10)
    found = chain.verify(tmp_path / "found")
    assert refused_in(found) == links, found
    assert name in found["model"].text
    assert is_refused(tuple(found.values()), is_signature_required=False)
    trouble = chain.files().find_trouble(
        ModelRef(version="1", digest=chain.uri.rpartition("/")[2], uri=chain.uri, dataset_version="digits/v1")
    )
    assert name in trouble, "and no deployment takes it"


def test_every_file_of_a_signed_model_is_covered(chain: Chain, tmp_path: Path) -> None:
    for number, uri in enumerate(list(chain.objects.list_uris(f"{chain.uri}/"))):
        before = chain.objects.fetch(uri)
        flip(chain, uri, place=len(before) // 2)
        assert "model" in refused_in(chain.verify(tmp_path / f"found-{number}")), uri
        chain.objects.put(uri, before)
    assert refused_in(chain.verify(tmp_path / "again")) == set()


def test_a_file_that_is_added_or_removed_is_named(chain: Chain, tmp_path: Path) -> None:
    chain.objects.put(f"{chain.uri}/extra.py", b"import os")
    assert "extra.py was added" in chain.verify(tmp_path / "added")["model"].text
    chain.objects.delete(f"{chain.uri}/extra.py")
    chain.objects.delete(f"{chain.uri}/verdict.json")
    found = chain.verify(tmp_path / "removed")
    assert refused_in(found) == {"model", "verdict"}
    assert "verdict.json is missing" in found["model"].text


def test_another_manifest_is_named(chain: Chain, tmp_path: Path) -> None:
    changed = MANIFEST.model_copy(update={"num_labels": 5})
    chain.datasets.replace_versions([changed], [], message="by hand")
    assert refused_in(chain.verify(tmp_path / "found")) == {"dataset version"}


def test_other_shards_are_named(chain: Chain, tmp_path: Path) -> None:
    other = MANIFEST.shards[0].model_copy(update={"sha256": "0" * 64})
    chain.datasets.replace_versions([MANIFEST.model_copy(update={"shards": (other,)})], [], message="by hand")
    found = chain.verify(tmp_path / "found")
    assert refused_in(found) == {"shards", "dataset version"}
    assert "shards/v1-train.parquet" in found["shards"].text


def test_a_shard_whose_bytes_differ_is_named_when_the_data_is_read(chain: Chain, tmp_path: Path) -> None:
    chain.datasets.delete_files([MANIFEST.shards[0].md5])
    assert refused_in(chain.verify(tmp_path / "names", is_with_data=False)) == set()
    assert refused_in(chain.verify(tmp_path / "data")) == {"shards"}


def test_an_erasure_is_told_and_refuses_nothing(chain: Chain, tmp_path: Path) -> None:
    left = MANIFEST.shards[0].model_copy(
        update={"sha256": digest_of_bytes(b"row"), "md5": md5_of(b"row"), "num_rows": 3}
    )
    after = MANIFEST.model_copy(update={"shards": (left,), "num_labels": 3, "erased": 1})
    chain.datasets.replace_versions([after], [b"row"], message="erase")
    found = chain.verify(tmp_path / "found")
    assert refused_in(found) == set()
    assert "1 row was erased from digits/v1 since" in found["dataset version"].text


@pytest.mark.parametrize("field_name", ["reason", "run_id", "actor", "verdict_digest", "at", "kind"])
def test_an_edited_entry_of_the_ledger_is_named(chain: Chain, tmp_path: Path, field_name: str) -> None:
    uri = chain.ledger.uri_of("digits", 1)
    entry = json.loads(chain.objects.fetch(uri))
    entry[field_name] = {"at": "2026-01-02T12:00:00Z", "kind": "allowed"}.get(field_name, "f" * 64)
    chain.objects.put(uri, json.dumps(entry).encode())
    found = chain.verify(tmp_path / "found")
    assert refused_in(found) == {"promotion"}
    assert "ledger entry 1" in found["promotion"].text


def test_an_entry_that_was_signed_by_another_key_is_named(chain: Chain, tmp_path: Path) -> None:
    uri = chain.ledger.uri_of("digits", 1)
    entry = LedgerEntry.model_validate_json(chain.objects.fetch(uri))
    chain.objects.delete(uri)
    S3Ledger(chain.objects, "ratchet", signer=OTHER_SIGNER).append(entry.model_copy(update={"attestation": None}))
    assert "not trusted" in chain.verify(tmp_path / "found")["promotion"].text


def test_a_verdict_of_a_rollout_that_was_changed_is_named(chain: Chain, tmp_path: Path) -> None:
    (uri,) = [uri for uri in chain.objects.all_uris() if "/decided-" in uri]
    flip(chain, uri)
    assert refused_in(chain.verify(tmp_path / "found")) == {"promotion"}


def test_a_missing_entry_is_named(chain: Chain, tmp_path: Path) -> None:
    other = ModelRef(version="2", digest="d" * 64, uri="s3://models/digits/d", dataset_version="digits/v1")
    record_refusal(chain.ledger, kind="withdrawn", task="digits", model=other, reason="quiet", run_id="run-2", now=NOON)
    chain.objects.delete(chain.ledger.uri_of("digits", 1))
    assert "ledger entry 1 is missing" in chain.verify(tmp_path / "found")["promotion"].text


def test_a_model_from_before_signing_is_told_and_refused_where_that_is_required(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    chain.register(signed=False)
    links = tuple(chain.verify(tmp_path / "found").values())
    assert {link.state for link in links if link.link != "promotion"} == {"not signed"}
    assert not is_refused(links, is_signature_required=False)
    assert is_refused(links, is_signature_required=True)
    old = ModelRef(version="1", digest=chain.uri.rpartition("/")[2], uri=chain.uri, dataset_version="digits/v1")
    assert StoredModelFiles(chain.objects, TRUSTED).find_trouble(old) == ""
    assert "is not signed" in chain.files().find_trouble(old)


def test_a_signed_model_that_may_serve_is_not_written_over_by_another_run(chain: Chain, tmp_path: Path) -> None:
    """Half of a second upload would leave a champion that no rollback can go to."""
    before = {uri: chain.objects.fetch(uri) for uri in chain.objects.list_uris(f"{chain.uri}/")}
    chain.register(Verdict(kind="evaluate", verdict="passed", reasons=(HELD, HELD)))
    assert {uri: chain.objects.fetch(uri) for uri in chain.objects.list_uris(f"{chain.uri}/")} == before


def test_an_unsigned_or_damaged_model_is_written_anew(chain: Chain, tmp_path: Path) -> None:
    flip(chain, f"{chain.uri}/verdict.json", place=40)
    chain.register()
    assert refused_in(chain.verify(tmp_path / "found")) == set()

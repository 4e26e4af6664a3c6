"""The signatures of a dataset version's examples: those of its parent, and of the shards that the parent does not
have."""

import logging

from ratchet.actions.labels.derived import nearest_kept
from ratchet.actions.labels.rows import fitting_rows
from ratchet.core.labels.near.signatures import Signatures, joined, signed
from ratchet.core.ports import DatasetStore
from ratchet.stores.example_signatures import ExampleSignatures, StoredSignatures
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)


def fetch_signatures(
    spec: TaskSpec, version: str, *, datasets: DatasetStore, signatures: ExampleSignatures
) -> Signatures:
    """Of all rows of a version, in every split. It costs one read and what is new since the last ones, one shard in
    memory at a time; all rows where there are none yet, or where rows are gone since.

    Safe to repeat: they are one object, made of the version's shards alone. Corrections change labels, which these do
    not have.
    """
    schema, manifest = spec.examples, datasets.fetch_manifest(version)
    kept, found = nearest_kept(
        manifest, manifest.shards, lambda version: signatures.fetch(version, schema), datasets=datasets
    )
    if kept is not None and found.is_whole:
        return kept.signatures
    log.info("signing the rows of %d of %d shards of %s", len(found.missing), len(manifest.shards), version)
    parts = [kept.signatures] if kept is not None and kept.signatures.rows.num_rows else []
    for shard in found.missing:
        rows = fitting_rows(datasets.fetch_shard(shard), spec, where=f"{version}, {shard.path}")
        if rows is not None:
            parts.append(signed(rows, schema, steps_F=parts[0].steps_F if parts else None))
    made = joined(parts, schema)
    covers = frozenset(shard.sha256 for shard in manifest.shards)
    signatures.put(version, schema, StoredSignatures(made, covers))
    return made

"""Server-side apply of one object: what may be applied, and what comes of it. Pure but for the clock."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from embedded.control_plane.kubernetes.apply import apply_config
from embedded.control_plane.kubernetes.core import rfc3339
from embedded.control_plane.kubernetes.errors import Named, bad_request, invalid
from embedded.control_plane.kubernetes.last_applied import forgiven_fields, keep_last_applied
from embedded.control_plane.kubernetes.managed_fields import Ownership, parse_managed_fields
from embedded.control_plane.kubernetes.objects import Author, check_namespace
from embedded.control_plane.kubernetes.schema_words import Schema
from embedded.control_plane.kubernetes.structure import list_errors


def check_applied(kind: Named, config: Mapping[str, Any], schema: Schema, *, namespace: str, name: str) -> None:
    """400 or 422 unless the configuration is for the object of the URL and names each item of a list once."""
    metadata = config["metadata"]
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    check_namespace(metadata, namespace)
    if metadata.get("name") not in (None, "", name):
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if errors := list(list_errors(config.get("spec", {}), schema["properties"]["spec"], "spec")):
        raise invalid(kind, name, errors)


def apply_to(
    live: Mapping[str, Any], config: Mapping[str, Any], api_version: str, *, author: Author, is_forced: bool
) -> tuple[dict[str, Any], tuple[Ownership, ...]]:
    """The object and its owners after the author applied `config` to it. 409 names fields that others hold."""
    metadata = {key: value for key, value in config["metadata"].items() if value is not None}
    config = {**config, "metadata": metadata}
    merged, owners = apply_config(
        live,
        config,
        parse_managed_fields(live["metadata"].get("managedFields")) or (),
        manager=author.manager,
        is_forced=is_forced,
        now=rfc3339(datetime.now(UTC)),
        api_version=api_version,
        forgiven=forgiven_fields(live, author.manager),
    )
    return keep_last_applied(merged, config, author.manager), owners

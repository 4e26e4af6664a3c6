"""Publish the compiled pipelines to KFP: a version is named by the digest of its file, and uploaded once.

Publishing reads `pipelines/compiled/*.yaml` alone: no compiler is imported.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict, NotFound
from ratchet.core.ports import PipelineCatalog, PipelineVersion

COMPILED_DIR = Path(__file__).parent / "compiled"
_NAME_LENGTH = 12


class Published(BaseModel):
    """A pipeline, and the version that runs from now on."""

    model_config = ConfigDict(frozen=True)

    pipeline: str
    version: str
    version_id: str
    is_new: bool
    """Whether this call uploaded it."""


def publish_all(catalog: PipelineCatalog, compiled_dir: Path = COMPILED_DIR) -> list[Published]:
    """Make the newest version of each pipeline the one in `compiled_dir`; a second call changes nothing."""
    paths = sorted(compiled_dir.glob("*.yaml"))
    if not paths:
        raise NotFound(f"{compiled_dir} holds no compiled pipeline. Run `ratchet pipelines compile`.")
    return [publish(catalog, path) for path in paths]


def publish(catalog: PipelineCatalog, path: Path) -> Published:
    """Upload one compiled pipeline, unless it is the newest version already."""
    pipeline = path.stem
    digest = digest_of_bytes(path.read_bytes())[:_NAME_LENGTH]
    versions = catalog.list_versions(pipeline)
    if versions and _is_same(catalog, versions[0], digest=digest, path=path):
        return _published(versions[0], is_new=False)
    try:
        uploaded = catalog.upload(pipeline, path, version_name=free_name_of(digest, versions))
    except Conflict:
        # Another publisher was first: just as good when it brought these bytes.
        newest = catalog.list_versions(pipeline)[0]
        if not _is_same(catalog, newest, digest=digest, path=path):
            raise
        return _published(newest, is_new=False)
    return _published(uploaded, is_new=True)


def free_name_of(digest: str, versions: Sequence[PipelineVersion]) -> str:
    """The digest; with a number when an older version has that name (A, then B, then A again)."""
    taken = {version.name for version in versions}
    number = 1
    while (name := digest if number == 1 else f"{digest}-{number}") in taken:
        number += 1
    return name


def _is_same(catalog: PipelineCatalog, version: PipelineVersion, *, digest: str, path: Path) -> bool:
    """By name; KFP names the first version of a pipeline like the pipeline, so that one by what it holds."""
    if version.name.partition("-")[0] == digest:
        return True
    return version.name == version.pipeline and catalog.fetch_spec(version) == spec_of(path.read_text())


def spec_of(text: str) -> Mapping[str, Any]:
    """A compiled file as KFP's API shows it: the spec alone, or with the platform's part beside it."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    return documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def _published(version: PipelineVersion, *, is_new: bool) -> Published:
    return Published(pipeline=version.pipeline, version=version.name, version_id=version.version_id, is_new=is_new)

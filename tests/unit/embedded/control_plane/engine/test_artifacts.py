"""What a reader of an artifact gets of it.

Source: kubeflow/pipelines, backend/src/v2/metadata/converter.go (StructValueToMLMDValue, toRuntimeArtifact).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from embedded.control_plane.engine.executor_io import collect_outputs, executor_input_of, imported_artifact
from embedded.control_plane.engine.executors import Importer
from embedded.control_plane.engine.roots import Root
from embedded.control_plane.engine.spec import Component
from embedded.control_plane.engine.values import Artifact, Values
from embedded.control_plane.errors import DataRejected

WRITER = Component.model_validate({"executorLabel": "exec", "outputDefinitions": {"artifacts": {"out": {}}}})


def written(folder: Path, metadata: dict[str, Any]) -> Artifact:
    """What a task with this metadata leaves behind."""
    told = {"artifacts": {"out": {"artifacts": [{"name": "out", "uri": str(folder / "out"), "metadata": metadata}]}}}
    (folder / "executor_output.json").write_text(json.dumps(told))
    return collect_outputs(WRITER, folder=folder, take=lambda path, target: None).artifacts["out"][0]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        pytest.param("text", "text", id="text"),
        pytest.param(1.5, 1.5, id="number"),
        pytest.param(True, 1, id="true"),
        pytest.param(False, 0, id="false"),
        pytest.param([1, True, None], {"list": [1, True, None]}, id="list"),
        pytest.param({"a": {"b": False}}, {"struct": {"a": {"b": False}}}, id="object"),
    ],
)
def test_metadata_is_read_as_a_cluster_records_it(value: Any, read: Any, tmp_path: Path) -> None:
    artifact = written(tmp_path, {"key": value})
    assert artifact.metadata == {"key": value}, "the API shows what was written"
    inputs = Values(artifacts={"data": (artifact,)})
    told = executor_input_of(Component(executor_label="exec"), inputs, root=Root(tmp_path), given=inputs)
    got = told["inputs"]["artifacts"]["data"]["artifacts"][0]["metadata"]["key"]
    assert (got, type(got)) == (read, type(read))


def test_null_in_metadata_fails_the_task_that_wrote_it(tmp_path: Path) -> None:
    with pytest.raises(DataRejected, match="output 'out': its metadata has null"):
        written(tmp_path, {"key": None})
    importer = Importer.model_validate({"artifactUri": {"constant": "/a"}, "metadata": {"key": None}})
    with pytest.raises(DataRejected, match="importer's artifact"):
        imported_artifact(importer, Values(), job={})

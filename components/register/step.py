"""Put a challenger that passed the gate into the registry, with all that tells where it came from."""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.models.registered import CHALLENGER
from ratchet.core.ports import Registry
from ratchet.core.verdict import Verdict
from ratchet.stores.models import ModelFolders
from ratchet.tasks.identity import read_model
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)
_NAMES_MAX = 50


@dataclass(frozen=True)
class Lineage:
    """What started this training; becomes tags of the model version."""

    dataset_version: str
    run_id: str
    run_key: str
    policy_digest: str
    git_commit: str
    image: str

    def as_tags(self) -> dict[str, str]:
        return {
            "dataset_version": self.dataset_version,
            "run_id": self.run_id,
            "run_key": self.run_key,
            "policy_digest": self.policy_digest,
            "git_commit": self.git_commit,
            "image": self.image,
        }


def register_step(
    spec: TaskSpec,
    model_path: Path,
    *,
    verdict: Verdict,
    metrics: Mapping[str, float],
    lineage: Lineage,
    models: ModelFolders,
    registry: Registry,
) -> tuple[str, str, str]:
    """Upload, register, alias `challenger`; gives version, uri and digest. The same model again changes nothing.

    Order: files, then the registry's version, then the alias: what a kill leaves behind is unreferenced files or a
    version without an alias, and the next start of this step goes on from there. DataRejected when the files are not
    the model that was judged.
    """
    digest = read_model(model_path).digest
    judged = verdict.inputs.get("challenger", digest)
    if digest != judged:
        raise DataRejected(
            f"{model_path} holds model {digest[:12]}, and the verdict is about {judged[:12]}: it changed after it was "
            "evaluated. Start the run again."
        )
    trained = json.loads((model_path / "lineage.json").read_text())
    tags = {**trained, **lineage.as_tags(), "digest": digest}
    with tempfile.TemporaryDirectory() as scratch_name:
        folder = Path(scratch_name) / "model"
        shutil.copytree(model_path, folder)
        (folder / "verdict.json").write_text(verdict.model_dump_json(indent=2) + "\n")
        (folder / "MODEL_CARD.md").write_text(render_model_card(spec, verdict=verdict, metrics=metrics, tags=tags))
        uri = models.put(folder, task=spec.name, digest=digest)
    return _tell_registry(registry, spec.name, uri, tags=tags, metrics=metrics), uri, digest


def _tell_registry(
    registry: Registry, task: str, uri: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> str:
    """The version, "" when MLflow refuses it: the files are stored, and their digest names the model as well.

    A server that is away is another thing: Unavailable, and the step is tried again.
    """
    version = ""
    try:
        version = registry.register(task, uri, tags=tags, metrics=metrics)
        registry.set_alias(task, CHALLENGER, version)
    except (Conflict, DataRejected, NotFound) as error:
        log.warning("%s: MLflow does not show %s as it should, the rollout goes on: %s", task, uri, error)
    return version


def render_model_card(
    spec: TaskSpec, *, verdict: Verdict, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> str:
    """The model for people: what it answers, how good it is, why it may serve, where it came from."""
    lines = [
        f"# {spec.name}",
        "",
        f"Answers {_output_text(spec)} from {_inputs_text(spec)}.",
        "",
        f"Model: {_kind_text(spec)}.",
        "",
        "## How good",
        *(f"- {name}: {value:.4f}" for name, value in sorted(metrics.items())),
        "",
        f"## Why it may serve: {verdict.verdict}",
        *(f"- {'held' if reason.passed else 'failed'}: {reason.text}" for reason in verdict.reasons),
        "",
        "## Where it came from",
        *(f"- {name}: {value}" for name, value in sorted(tags.items()) if value),
        "",
    ]
    return "\n".join(lines)


def _output_text(spec: TaskSpec) -> str:
    classes = f"{len(spec.classes)} classes ({_listed(spec.classes)})"
    of_type = {"category": f"one of {classes}", "tags": f"any number of {classes}", "number": "a number"}
    return of_type[spec.output.type] + ("" if spec.output.name == "label" else f", {spec.output.name},")


def _inputs_text(spec: TaskSpec) -> str:
    vector = spec.examples.short_input
    if vector is not None:
        return f"{vector.size} numbers between {vector.range[0]:g} and {vector.range[1]:g}"
    named = [f"{each.name} ({each.type}{', may be missing' if each.optional else ''})" for each in spec.inputs]
    return f"{len(named)} inputs: {_listed(named)}"


def _kind_text(spec: TaskSpec) -> str:
    options = [f"{name} {value}" for name, value in sorted(spec.model.options.items())]
    return ", ".join([spec.model.kind, *options])


def _listed(names: Sequence[str]) -> str:
    """Cut where a card would become a list."""
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return ", ".join(names[:_NAMES_MAX]) + more

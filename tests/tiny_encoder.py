"""A sentence encoder of two small layers with random weights, as a package beside others: `kind: text` with
`encoder: minilm` but for its name and its size."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ratchet.tasks.kinds.pretrained import Pretrained
from ratchet.tasks.kinds.sentences import Sentences

WIDTH, INNER, LAYERS = 32, 64, 2
MODULE = "tiny_text_encoder"
WORDS = ("the", "a", "of", "and", "you", "cheap", "pill", "winner", "now", "meeting", "report", "lunch", "tomorrow")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "##s", "!", "東")


class Tiny(Sentences):
    pretrained = Pretrained(name="minilm", distribution="tiny-text-encoder", module=MODULE, folder="model", sha256={})


class Checked(Sentences):
    """Whose package holds another file than was expected."""

    pretrained = Pretrained(
        name="minilm", distribution="tiny-text-encoder", module=MODULE, folder="model", sha256={"vocab.txt": "0" * 64}
    )


class Missing(Sentences):
    """Whose package is not installed."""

    pretrained = Pretrained(name="minilm", distribution="no-encoder", module="no_encoder", folder="model", sha256={})


def write_package(folder: Path) -> Path:
    """The package's files in a folder of Python's path; gives that folder."""
    model = folder / MODULE / "model"
    model.mkdir(parents=True)
    (folder / MODULE / "__init__.py").write_text('raise RuntimeError("nothing of the package is run")\n')
    (model / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    (model / "config.json").write_text(
        json.dumps(
            {
                "num_hidden_layers": LAYERS,
                "hidden_size": WIDTH,
                "num_attention_heads": 4,
                "intermediate_size": INNER,
                "max_position_embeddings": 64,
                "vocab_size": len(VOCABULARY),
            }
        )
    )
    save_file(bert_weights(), model / "model.safetensors")
    return folder


def bert_weights() -> dict[str, torch.Tensor]:
    """By the names of a BertModel, the same each time."""
    generator = torch.Generator().manual_seed(0)
    sizes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings": (len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings": (64, WIDTH),
        "embeddings.token_type_embeddings": (2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        sizes |= {f"{layer}.attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        sizes |= {
            f"{layer}.attention.output.dense": (WIDTH, WIDTH),
            f"{layer}.intermediate.dense": (INNER, WIDTH),
            f"{layer}.output.dense": (WIDTH, INNER),
        }
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    weights = {f"{name}.weight": torch.randn(size, generator=generator) * 0.3 for name, size in sizes.items()}
    weights |= {f"{name}.bias": torch.zeros(size[0]) for name, size in sizes.items() if "layer" in name}
    weights |= {f"{name}.weight": torch.ones(WIDTH) for name in norms}
    return weights | {f"{name}.bias": torch.zeros(WIDTH) for name in norms}

"""The real encoder, where the extra `text` is installed: what `transformers` makes of the same texts."""

import math
from importlib.util import find_spec

import pyarrow as pa
import pytest
import torch

from ratchet.tasks.kinds.pretrained import MINILM
from ratchet.tasks.kinds.sentences import Sentences
from ratchet.tasks.spec import TaskSpec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec(MINILM.module) is None, reason="the extra `text` is not installed"),
]
REFERENCE = {
    "A man is eating pasta.": (
        [101, 1037, 2158, 2003, 5983, 24857, 1012, 102],
        [-0.01158, -0.05081, -0.02169, 0.0561],
    ),
    "Grüße aus 東京, naïve café! 🎉": (
        [101, 24665, 2226, 17499, 17151, 1879, 1755, 1010, 15743, 7668, 999, 100, 102],
        [0.07245, 0.01993, 0.04786, -0.01416],
    ),
    "": ([101, 102], [-0.11884, 0.0483, -0.00255, -0.01101]),
    "unbelievable " * 60: ([101, *[23653] * 30, 102], [0.03538, -0.00399, -0.05299, -0.00292]),
}
"""Token ids and the first four numbers of the vector of length 1: AutoTokenizer and AutoModel of transformers 5.24 with
at most 32 tokens, the mean over the tokens."""


def test_tokens_and_vectors_are_those_of_the_reference() -> None:
    spec = TaskSpec.model_validate(
        {
            "name": "mails",
            "inputs": [{"name": "body", "type": "text"}],
            "output": {"type": "category", "classes": ["ham", "spam"]},
            "model": {"kind": "text", "encoder": "minilm", "tokens_max": 32},
        }
    )
    kind, rows = Sentences(spec), pa.table({"body": list(REFERENCE)})
    state = kind.fit(rows)
    network = kind.build_model(state)
    kind.load_pretrained(network, state)
    ids_BL = kind.encode(rows, state)
    with torch.no_grad():
        vectors_BW = network.encoder(ids_BL) / math.sqrt(network.encoder.width)
    for (ids, first), found, vector in zip(REFERENCE.values(), ids_BL.tolist(), vectors_BW, strict=True):
        assert [each for each in found if each] == ids
        assert vector[:4].tolist() == pytest.approx(first, abs=2e-5)

"""`kind: trees`: LightGBM on columns of mixed types, as gradient boosting or as a random forest.

Missing values and categories are LightGBM's own; a category that was not learned counts as missing. A model of one
number, of two classes, of K classes, or of K tags, each of which is a model of two classes: their text forms follow
each other in model.txt.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ratchet.tasks.kinds.columns import matrix_of, numbers_of, whole
from ratchet.tasks.kinds.encoders import NUM_RESERVED, encode_categories, fit_columns, parts_of_time, unseen_of
from ratchet.tasks.kinds.ngrams import buckets_of
from ratchet.tasks.kinds.options import TreesOptions

if TYPE_CHECKING:
    import lightgbm

    from ratchet.tasks.spec import TaskSpec

_SEPARATOR = "\n==== next booster ====\n"
_NGRAMS_MAX, _CHARS_MAX = 2_048, 8_000


class Trees:
    """Columns of every type but image. Its learner is `ratchet.training.trees`."""

    def __init__(self, spec: "TaskSpec") -> None:
        self.spec = spec
        self.options = TreesOptions.model_validate(spec.model.options)

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        return self.refit(rows, {})

    def refit(self, rows: pa.Table, before: dict[str, Any]) -> dict[str, Any]:
        """As `fit`, where trees are added to those that go with the state `before`."""
        options = self.options
        columns = fit_columns(
            rows,
            [each for each in self.spec.inputs if each.type == "category"],
            categories_max=options.categories_max,
            min_count=options.min_count,
            before=before.get("columns"),
        )
        return {"columns": columns}

    def encode(self, rows: pa.Table, state: dict[str, Any]) -> np.ndarray:
        """(B, F) float64, a column for each of `column_names`; NaN where a value is missing or not known."""
        inputs: tuple[Any, ...] = self.spec.inputs
        places_BC = encode_categories(rows, inputs, state["columns"]).astype(np.float64) - NUM_RESERVED
        blocks = [np.where(places_BC < 0, np.nan, places_BC)]
        for place, each in enumerate(inputs):
            if each.type == "vector":
                blocks.append(matrix_of(rows[each.name], size=each.size))
            elif each.type == "text":
                blocks.append(self._counts_of(whole(rows[each.name]), salt=place))
            elif each.type == "datetime":
                us_B = numbers_of(rows[each.name])
                blocks.append(np.concatenate([us_B[:, None], parts_of_time(us_B)], axis=1))
            elif each.type != "category":
                blocks.append(numbers_of(rows[each.name])[:, None])
        return np.concatenate(blocks, axis=1)

    @property
    def num_categories(self) -> int:
        """How many of the first columns are categories."""
        return sum(each.type == "category" for each in self.spec.inputs)

    def load_model(self, text: str, state: dict[str, Any]) -> list["lightgbm.Booster"]:
        """From the text of model.txt."""
        import lightgbm

        return [lightgbm.Booster(model_str=each) for each in text.split(_SEPARATOR)]

    def text_of(self, boosters: list["lightgbm.Booster"]) -> str:
        """The content of model.txt."""
        return _SEPARATOR.join(each.model_to_string() for each in boosters)

    def decode(self, boosters: list["lightgbm.Booster"], encoded_BF: np.ndarray) -> np.ndarray:
        """Probabilities (B, K), or numbers (B,)."""
        if not len(encoded_BF):
            return np.zeros((0, len(self.spec.classes)) if self.spec.classes else 0)
        answers = [np.asarray(each.predict(encoded_BF, num_threads=1)) for each in boosters]
        if self.spec.output.type == "tags":
            return np.stack(answers, axis=1)
        (only,) = answers
        if self.spec.output.type == "category" and only.ndim == 1:
            return np.stack([1 - only, only], axis=1)
        return only

    def unseen(self, rows: pa.Table, state: dict[str, Any]) -> dict[str, int]:
        """Rows with a category that the training rows did not have, by input."""
        return unseen_of(rows, self.spec.inputs, state["columns"])

    def _counts_of(self, texts: pa.Array, *, salt: int) -> np.ndarray:
        """(B, text_columns): the logarithm of 1 + how often the n-grams of a column come."""
        size = self.options.text_columns
        buckets_BL = buckets_of(texts, salt=salt, num_buckets=size, num_max=_NGRAMS_MAX, chars_max=_CHARS_MAX)
        flat = buckets_BL + np.arange(len(texts))[:, None] * (size + 1)
        counts = np.bincount(flat.reshape(-1), minlength=len(texts) * (size + 1)).reshape(len(texts), size + 1)
        return np.log1p(counts[:, 1:].astype(np.float64))

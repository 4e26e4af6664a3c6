"""How MLflow loads one of our models (`mlflow.pyfunc.load_model`): from code and safetensors, no pickle."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ratchet.serving.columns import vector_column
from ratchet.serving.inputs import parse_instances, parse_tensor
from ratchet.serving.rendering import predictions_of
from ratchet.serving.request_images import RequestImages
from ratchet.tasks.model_files import ServableModel, load_model


class PyfuncModel:
    """MLflow's contract: `predict(model_input, params)`."""

    def __init__(self, model: ServableModel) -> None:
        self._model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Rows to the columns `label` and, where the output has one, `probability`.

        model_input: of a single vector input an array or a frame (B, F); else a frame with a column for each input, or
        a list of objects, as in a V1 request. DataRejected says what is wrong with it.
        """
        answers = self._model.answer(self._inputs_of(model_input))
        return pd.DataFrame(predictions_of(answers, self._model.spec.output))

    def _inputs_of(self, model_input: Any) -> pa.Table:
        schema = self._model.spec.examples
        short = schema.short_input
        if short is not None and not _is_of_objects(model_input):
            features_BF = parse_tensor(np.asarray(model_input), num_features=short.size)
            return pa.table({short.name: vector_column(features_BF, place="")})
        rows = (
            pa.Table.from_pandas(model_input, preserve_index=False).to_pylist()
            if isinstance(model_input, pd.DataFrame)
            else model_input
        )
        return parse_instances({"instances": rows}, schema=schema, images=RequestImages())


def _is_of_objects(model_input: Any) -> bool:
    return isinstance(model_input, list) and bool(model_input) and isinstance(model_input[0], dict)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Called by MLflow with the model's folder."""
    return PyfuncModel(load_model(Path(path)))

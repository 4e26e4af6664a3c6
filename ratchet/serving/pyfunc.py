"""How MLflow loads one of our models (`mlflow.pyfunc.load_model`): from code and safetensors, no pickle."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.serving.inputs import parse_tensor
from ratchet.tasks.model_files import ServableModel, load_model


class PyfuncModel:
    """MLflow's contract: `predict(model_input, params)`."""

    def __init__(self, model: ServableModel) -> None:
        self._model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Rows of raw features to columns `label` and `probability`. DataRejected when their number is wrong."""
        spec = self._model.spec
        features_BF = parse_tensor(np.asarray(model_input), num_features=spec.features.num_features)
        proba_BK = self._model.predict_proba(features_BF)
        labels_B = np.array(spec.classes)[proba_BK.argmax(axis=1)]
        return pd.DataFrame({"label": labels_B, "probability": proba_BK.max(axis=1)})


def _load_pyfunc(path: str) -> PyfuncModel:
    """Called by MLflow with the model's folder."""
    return PyfuncModel(load_model(Path(path)))

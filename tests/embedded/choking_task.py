"""The task digits with a preprocessing that fails on some inputs, by the value of the first feature. For tests only."""

import numpy as np
import torch

from ratchet.tasks.digits import Digits

CRASHES, NOT_FINITE = 13.0, 14.0


class ChokingDigits(Digits):
    def preprocess(self, features_BF: np.ndarray) -> torch.Tensor:
        if (features_BF[:, 0] == CRASHES).any():
            raise ValueError("thirteen")
        if (features_BF[:, 0] == NOT_FINITE).any():
            features_BF = features_BF * np.nan
        return super().preprocess(features_BF)

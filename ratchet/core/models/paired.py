"""Two models that are right or wrong on the same rows. Pure. Shape suffixes: N rows."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of the challenger minus that of the champion, on the same rows, with one-sided bounds."""

    difference: float
    lower: float
    upper: float
    num_rows: int


def paired_difference(
    challenger_right_N: np.ndarray, champion_right_N: np.ndarray, *, confidence: float
) -> PairedDifference:
    """Difference of two accuracies on the same rows (bool arrays).

    Bounds: Agresti & Min, "Simple improved confidence intervals for comparing matched proportions" (2005): Wald's
    interval after adding 1/2 to each of the four cells, which keeps its level for few discordant rows.
    """
    num_rows = len(challenger_right_N)
    if num_rows == 0:
        raise ValueError("no rows to compare")
    only_challenger = float((challenger_right_N & ~champion_right_N).sum())
    only_champion = float((champion_right_N & ~challenger_right_N).sum())
    total = num_rows + 2
    gain, loss = (only_challenger + 0.5) / total, (only_champion + 0.5) / total
    half_width = ndtri(confidence) * np.sqrt(max(gain + loss - (gain - loss) ** 2, 0) / total)
    return PairedDifference(
        difference=(only_challenger - only_champion) / num_rows,
        lower=float(max(gain - loss - half_width, -1)),
        upper=float(min(gain - loss + half_width, 1)),
        num_rows=num_rows,
    )


def gain_of_losses(loss_N: np.ndarray, *, confidence: float) -> PairedDifference:
    """The challenger's mean gain, of how much worse it answers each row, by Student's t. At least two rows."""
    error = float(loss_N.std(ddof=1)) / float(np.sqrt(len(loss_N)))
    gain, half_width = -float(loss_N.mean()), float(stdtrit(len(loss_N) - 1, confidence)) * error
    return PairedDifference(gain, gain - half_width, gain + half_width, len(loss_N))

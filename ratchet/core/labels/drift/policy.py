"""What counts as drift, and what a verdict about it is. Pure data."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.verdict import Reason

DriftName = Literal["stable", "drifted", "too_few"]


class DriftPolicy(BaseModel):
    """When new labels count as different (configs/policies/drift.yaml); its digest goes into every run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_shift_max: float = Field(0.25, gt=0)
    """Population stability index of the classes, no unit. 0.1 to 0.25 is called moderate, above it large."""
    feature_shift_max: float = Field(0.15, gt=0, lt=1)
    """Kolmogorov-Smirnov distance (0..1) of one feature up to which a shift is harmless, however certain it is."""
    false_alarm_ratio: float = Field(0.01, gt=0, lt=0.5)
    """Chance that any feature is named though none has moved, over all features together (Holm). Of typed inputs:
    over all columns and all looks together (`evidence`)."""
    power: float = Field(0.8, gt=0.5, lt=1)
    """Chance to see a feature that moved by `detectable_shift_max`; with less than that the verdict is too_few."""
    detectable_shift_max: float = Field(0.30, gt=0, lt=1)
    """KS distance that must not go unseen. 64 features need about 90 rows against 700."""
    num_rows_min: int = Field(50, gt=0)
    """Rows on either side below which nothing is said."""
    number_shift_max: float = Field(0.1, gt=0)
    """Wasserstein distance of a number, in its standard deviations before, up to which a shift is harmless."""
    category_shift_max: float = Field(0.1, gt=0, lt=1)
    """Jensen-Shannon distance (0..1, base 2) of a category up to which a shift is harmless."""
    share_shift_max: float = Field(0.05, gt=0, lt=1)
    """How far a share of rows may move: of missing values, of categories never seen before, of one tag."""
    classifier_auc_max: float = Field(0.55, gt=0.5, lt=1)
    """How well a classifier may tell old texts, images or wide vectors from new ones, as area under the ROC curve."""


class DriftDecision(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: DriftName
    reasons: tuple[Reason, ...]

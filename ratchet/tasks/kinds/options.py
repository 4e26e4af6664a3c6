"""What a task file may say under `model:`, by kind, and what holds when it says nothing. Loads no torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

Width = Annotated[StrictInt, Field(gt=0, le=8192)]
Hidden = Annotated[tuple[Width, ...], Field(max_length=16)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _NetworkOptions(_Options):
    hidden: Hidden = (128, 64)
    """Widths of the hidden layers; none: a linear model."""
    dropout: float = Field(0.1, ge=0, lt=1)
    loss: Literal["mse", "huber"] | None = None
    """Of an output of type number. None: mse, and huber where the task's metric is mae."""


class VectorOptions(_NetworkOptions):
    """A multilayer perceptron on a vector."""


class _NgramOptions(_NetworkOptions):
    buckets: int = Field(2**16, ge=2**8, le=2**22)
    """Rows of the table of embeddings that n-grams are hashed to."""
    embedding: Width = 32
    """Numbers that an n-gram becomes."""
    ngrams_max: int = Field(256, ge=8, le=2**14)
    """N-grams of a row: the first words, pairs of words and pieces of words."""
    chars_max: int = Field(4_000, ge=16, le=1_000_000)
    """Characters of a text that are read."""


class TabularOptions(_NgramOptions):
    """A multilayer perceptron on encoded columns of every type but image."""

    categories_max: int = Field(10_000, gt=0, le=100_000)
    """Values of one category that are told apart, the most frequent ones; all others are "unknown"."""
    min_count: int = Field(2, gt=0)
    """Rows that a value needs to be told apart. 2: single ones teach what an unknown value means."""


Encoder = Literal["hashed", "minilm"]
_RANK = 8
"""Of a low-rank adaptation: what Hu et al. found enough for most tasks."""


class TextOptions(_NgramOptions):
    """Hashed words, pairs of words and pieces of words; their mean embedding goes through hidden layers."""

    encoder: Encoder = "hashed"
    """hashed: learned from the task's rows alone. minilm: a pretrained encoder; its options are `SentenceOptions`."""
    hidden: Hidden = (64,)
    ngrams_max: int = Field(1024, ge=8, le=2**14)
    chars_max: int = Field(8_000, ge=16, le=1_000_000)


class SentenceOptions(_NetworkOptions):
    """all-MiniLM-L6-v2 (six layers, 22.7 million parameters, English), and hidden layers on its vector of a text."""

    encoder: Encoder
    train: Literal["head", "full", "lora", "top-1", "top-2", "top-3", "top-4", "top-5", "top-6"] = "head"
    """What the training changes. head: the layers after the encoder, which then reads each row once. full: all. top-2:
    the last two layers of the encoder too. lora: what is added to the encoder's weights (`low_rank.py`)."""
    rank: int | None = Field(None, ge=1, le=256, exclude_if=lambda value: value is None)
    """Of what `lora` adds to a weight. None: 8."""
    hidden: Hidden = ()
    tokens_max: int = Field(128, ge=16, le=512)
    """Tokens of a row that are read: pieces of words. Time and memory grow with it."""
    chars_max: int = Field(4_000, ge=16, le=1_000_000)

    @property
    def num_trained_layers(self) -> int | None:
        """Of the encoder, counted from its end. None: none is frozen when it is built."""
        if self.train in ("full", "lora"):
            return None
        return 0 if self.train == "head" else int(self.train.removeprefix("top-"))

    @property
    def lora_rank(self) -> int | None:
        """None where the training is no low-rank adaptation."""
        return (self.rank or _RANK) if self.train == "lora" else None

    @model_validator(mode="after")
    def _check_rank(self) -> Self:
        if self.rank is not None and self.train != "lora":
            raise ValueError(f"`rank` is of `train: lora`, and this is `train: {self.train}`; leave `rank` out")
        return self


class ImageOptions(_NetworkOptions):
    """Convolutions with half the side and twice the channels each, then hidden layers."""

    hidden: Hidden = (128,)
    channels: int = Field(32, ge=4, le=512)
    """Of the first convolution."""


class TreesOptions(_Options):
    """LightGBM."""

    boosting: Literal["gbdt", "rf"] = "gbdt"
    """rf: a random forest, each tree on a share of rows and columns."""
    num_trees: int = Field(300, gt=0, le=20_000)
    num_leaves: int = Field(31, ge=2, le=4096)
    learning_rate: float = Field(0.05, gt=0, le=1)
    min_rows: int = Field(20, gt=0)
    """Training rows of a leaf, at least."""
    categories_max: int = Field(1_000, gt=0, le=100_000)
    min_count: int = Field(2, gt=0)
    text_columns: int = Field(256, ge=8, le=4096)
    """Columns that the n-grams of a text are counted in."""


OPTIONS_OF: Mapping[str, type[_Options]] = {
    "vector": VectorOptions,
    "tabular": TabularOptions,
    "text": TextOptions,
    "image": ImageOptions,
    "trees": TreesOptions,
}
INPUTS_OF: Mapping[str, tuple[str, ...]] = {
    "vector": ("vector",),
    "tabular": ("number", "category", "boolean", "datetime", "text", "vector"),
    "text": ("text",),
    "image": ("image",),
    "trees": ("number", "category", "boolean", "datetime", "text", "vector"),
}
"""Types of inputs that a kind takes."""
ONE_INPUT = ("vector", "image")
"""Kinds that take one input alone."""
TRAINING_OF: Mapping[str, Mapping[str, object]] = {
    "vector": {"num_epochs": 30, "batch_size": 64, "learning_rate": 0.002, "weight_decay": 0.0001},
    "tabular": {"num_epochs": 20, "batch_size": 128, "learning_rate": 0.002, "weight_decay": 0.0001},
    "text": {"num_epochs": 10, "batch_size": 64, "learning_rate": 0.005},
    "image": {"num_epochs": 15, "batch_size": 64, "learning_rate": 0.002},
    "trees": {"start": "scratch", "world_size": 1},
}
_TRAINING_OF_ENCODER = {"num_epochs": 3, "batch_size": 32, "learning_rate": 0.0001}
_TRAINING_OF_LOW_RANK = {"num_epochs": 3, "batch_size": 32, "learning_rate": 0.001}
_TRAINING_ON_ENCODER = {"num_epochs": 20, "batch_size": 32, "learning_rate": 0.001, "weight_decay": 0.01}


def _has_encoder(kind: str, options: Mapping[str, Any]) -> bool:
    return kind == "text" and options.get("encoder") == "minilm"


def options_of(kind: str, options: Mapping[str, Any]) -> type[_Options] | None:
    """What checks the options of a model; None of a kind that is not ready-made."""
    return SentenceOptions if _has_encoder(kind, options) else OPTIONS_OF.get(kind)


def training_of(kind: str, options: Mapping[str, Any]) -> Mapping[str, object]:
    """What `training` says where the task file does not."""
    if not _has_encoder(kind, options):
        return TRAINING_OF.get(kind, {})
    match options.get("train", "head"):
        case "head":
            return _TRAINING_ON_ENCODER
        case "lora":
            return _TRAINING_OF_LOW_RANK
    return _TRAINING_OF_ENCODER


def class_of(kind: str, options: Mapping[str, Any]) -> str:
    """`module:Class` of a ready-made kind."""
    if _has_encoder(kind, options):
        return "ratchet.tasks.kinds.sentences:Sentences"
    return f"ratchet.tasks.kinds.{kind}:{kind.capitalize()}"

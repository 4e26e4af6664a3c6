"""Changes of inputs that a task file can declare to be without effect. Pure data: a task file is read without scipy."""

from collections.abc import Mapping
from typing import Literal, get_args

TextInvariance = Literal["upper_case", "lower_case", "whitespace"]
ImageInvariance = Literal["horizontal_flip", "vertical_flip"]
Invariance = Literal["upper_case", "lower_case", "whitespace", "horizontal_flip", "vertical_flip"]
INPUT_TYPE_OF: Mapping[str, Literal["text", "image"]] = {
    **dict.fromkeys(get_args(TextInvariance), "text"),
    **dict.fromkeys(get_args(ImageInvariance), "image"),
}

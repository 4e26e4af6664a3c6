"""What the examples of a task look like: typed inputs and one typed output. One declaration decides how a label line is
read, how rows are stored, how a request is read and what a page draws. Pure data.

An Arrow table of examples has the columns of `rows_schema`: `id`, `inputs` (a struct with a field for each input),
`label`, `labeler`, `labeled_at`. A missing optional input is null. Opinions have `corrects` as well.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal, Self, get_args

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, field_validator, model_validator

from ratchet.core.fresh_copy import FreshCopy
from ratchet.core.labels.queue_marks import QUEUE_MARK

InputType = Literal["number", "category", "boolean", "datetime", "text", "image", "vector"]
INPUT_TYPES: tuple[InputType, ...] = get_args(InputType)
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$")]
INPUTS_MAX = 2_000
"""Wider tables are vectors."""
TEXT_CHARS_MAX = 100_000
CATEGORY_CHARS_MAX = 1_000
VECTOR_SIZE_MAX = 1_000_000
IMAGE_SIDE_MAX = 1_024
"""Pixels of a side as they are stored; larger ones are scaled down to the task's size before."""
_TIMESTAMP = pa.timestamp("us", tz="UTC")


def _no_boolean_as_number(value: object) -> object:
    """YAML's `yes` and `true` are no limits."""
    if isinstance(value, bool):
        raise ValueError("a number is expected, not a boolean")
    return value


Limit = Annotated[float, BeforeValidator(_no_boolean_as_number), Field(allow_inf_nan=False)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name


class _Input(_Declared):
    optional: StrictBool = False
    """Whether the value may be missing, or null."""


class _Limits(BaseModel):
    """min, max: both inclusive; None: no limit."""

    min: Limit | None = None
    max: Limit | None = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min is {self.min:g} and max is {self.max:g}; min must be less than max")
        return self

    @property
    def range(self) -> tuple[float, float]:
        low = float("-inf") if self.min is None else self.min
        return low, float("inf") if self.max is None else self.max


class NumberInput(_Limits, _Input):
    """A finite number."""

    type: Literal["number"] = "number"


class CategoryInput(_Input):
    """One of some names. Without `values` any name is taken; what a model has not learned it answers as unknown."""

    type: Literal["category"] = "category"
    values: tuple[str, ...] = Field((), max_length=100_000)

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return check_names(values, what="value")


class BooleanInput(_Input):
    """true or false."""

    type: Literal["boolean"] = "boolean"


class DatetimeInput(_Input):
    """A time with its zone, stored in UTC to the microsecond."""

    type: Literal["datetime"] = "datetime"


class TextInput(_Input):
    """Text of at most `chars_max` characters."""

    type: Literal["text"] = "text"
    chars_max: int = Field(TEXT_CHARS_MAX, gt=0, le=1_000_000)


class ImageInput(_Input):
    """A PNG, JPEG or WebP picture, stored as `height` x `width` x `channels` bytes, row by row."""

    type: Literal["image"] = "image"
    width: int = Field(gt=0, le=IMAGE_SIDE_MAX)
    height: int = Field(gt=0, le=IMAGE_SIDE_MAX)
    channels: Literal[1, 3] = 3
    """1: grey, 3: red, green, blue."""

    @property
    def num_bytes(self) -> int:
        return self.width * self.height * self.channels


class VectorInput(_Limits, _Input):
    """A list of `size` finite numbers. min, max: of each of them."""

    type: Literal["vector"] = "vector"
    size: int = Field(gt=0, le=VECTOR_SIZE_MAX)


InputSpec = Annotated[
    NumberInput | CategoryInput | BooleanInput | DatetimeInput | TextInput | ImageInput | VectorInput,
    Field(discriminator="type"),
]


class _Classes(_Declared):
    name: Name = "label"
    classes: tuple[str, ...] = Field(min_length=2, max_length=100_000)

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return check_names(classes, what="class")


class CategoryOutput(_Classes):
    """One of the classes."""

    type: Literal["category"] = "category"


class TagsOutput(_Classes):
    """Any number of the classes, none as well."""

    type: Literal["tags"] = "tags"


class NumberOutput(_Limits, _Declared):
    """A finite number."""

    name: Name = "label"
    type: Literal["number"] = "number"
    tolerance: Limit | None = Field(None, gt=0)
    """How far an answer may lie from the label and still count as right, where something counts right answers
    (feedback, labelers' agreement). None: an answer of a number is neither right nor wrong."""


OutputSpec = Annotated[CategoryOutput | NumberOutput | TagsOutput, Field(discriminator="type")]


class ExampleSchema(FreshCopy):
    """The inputs of an example, and what is to be said of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[InputSpec, ...] = Field(min_length=1, max_length=INPUTS_MAX)
    output: OutputSpec

    @field_validator("inputs")
    @classmethod
    def _check_inputs(cls, inputs: tuple[InputSpec, ...]) -> tuple[InputSpec, ...]:
        check_names([each.name for each in inputs], what="input")
        return inputs

    @property
    def classes(self) -> tuple[str, ...]:
        """Of a category or tags; empty for a number."""
        return () if isinstance(self.output, NumberOutput) else self.output.classes

    @cached_property
    def without_limits(self) -> "ExampleSchema":
        """The same types without ranges and closed lists of values: what a stored shard is read by, so that a value
        beyond its limit is a matter of its labeler (`validate`), not of the whole shard."""
        free = {"min": None, "max": None, "values": ()}

        def freed(declared: BaseModel) -> BaseModel:
            return declared.model_copy(
                update={name: free[name] for name in free.keys() & type(declared).model_fields.keys()}
            )

        return self.model_copy(update={"inputs": tuple(map(freed, self.inputs)), "output": freed(self.output)})

    @property
    def short_input(self) -> VectorInput | None:
        """The input that `features` is the short form of: the only one, a vector."""
        only = self.inputs[0]
        return only if len(self.inputs) == 1 and isinstance(only, VectorInput) else None

    def of_type(self, *types: InputType) -> Iterator[InputSpec]:
        """The inputs of these types, in the order of the task file."""
        return (each for each in self.inputs if each.type in types)

    def with_pictures_of(self, *, side: int) -> "ExampleSchema":
        """The same with grey pictures of so many pixels a side."""
        small = {"width": side, "height": side, "channels": 1}
        return self.model_copy(
            update={
                "inputs": tuple(
                    each.model_copy(update=small) if isinstance(each, ImageInput) else each for each in self.inputs
                )
            }
        )

    @property
    def inputs_type(self) -> pa.StructType:
        """Arrow type of the column `inputs`."""
        return pa.struct([pa.field(each.name, arrow_type_of(each)) for each in self.inputs])

    @property
    def label_type(self) -> pa.DataType:
        """Arrow type of the column `label`."""
        return {"category": pa.string(), "number": pa.float64(), "tags": pa.list_(pa.string())}[self.output.type]

    @property
    def rows_schema(self) -> pa.Schema:
        """One row an example or an opinion; the columns of a dataset shard."""
        return pa.schema(
            [
                pa.field("id", pa.string()),
                pa.field("inputs", self.inputs_type),
                pa.field("label", self.label_type),
                pa.field("labeler", pa.string()),
                pa.field("labeled_at", _TIMESTAMP),
            ]
        )

    @property
    def opinions_schema(self) -> pa.Schema:
        """One row an opinion, as a label shard has it: `rows_schema`, and whether the opinion says that it corrects
        another one (never null), and what the queue says of the example (`queue_marks`), or null."""
        return pa.schema([*self.rows_schema, pa.field("corrects", pa.bool_()), pa.field(QUEUE_MARK, pa.string())])


def arrow_type_of(declared: InputSpec) -> pa.DataType:
    """How the values of an input are stored."""
    match declared:
        case NumberInput():
            return pa.float64()
        case BooleanInput():
            return pa.bool_()
        case DatetimeInput():
            return _TIMESTAMP
        case ImageInput():
            return pa.binary(declared.num_bytes)
        case VectorInput():
            return pa.list_(pa.float64())
    return pa.string()


def check_names(names: Sequence[str], *, what: str) -> tuple[str, ...]:
    """That each name stands for one thing alone; ValueError lists those that do not."""
    twice = sorted(name for name, number in Counter(names).items() if number > 1)
    if twice or "" in names:
        found = [f"twice: {', '.join(twice[:8])}"] if twice else []
        found += ["empty"] if "" in names else []
        raise ValueError(f"each {what} needs a name of its own; {', '.join(found)}")
    return tuple(names)


def inputs_table(rows: pa.Table, schema: ExampleSchema) -> pa.Table:
    """The inputs of rows as a table of their own: a column for each input, by name.

    rows: of `rows_schema`, or of a dataset version that was written before inputs had names: its column `features` is
    the only vector.
    """
    if "inputs" in rows.column_names:
        column = rows["inputs"].combine_chunks()
        names = [field.name for field in column.type]
        return pa.table({name: column.field(name) for name in names} or {}, schema=pa.schema(list(column.type)))
    short = schema.short_input
    if short is None or "features" not in rows.column_names:
        raise ValueError(f"rows have the columns {', '.join(rows.column_names)}; inputs are expected")
    return pa.table({short.name: rows["features"]})

"""What a batch prediction is asked to do, and what its files are called. Pure.

    plan.json                    written first: the model, the input files, the size of a part
    part-<file>-<part>.jsonl     the answers to that part of an input file, or .parquet
    errors-<file>-<part>.jsonl   the rows of that part that have no answer, and why; written before the part
    summary.json                 written last

An answer is called `answer`, never `label`: no reader of labels takes these files for labels.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.models.ledger import ModelRef

PLAN, SUMMARY = "plan.json", "summary.json"
OutputFormat = Literal["jsonl", "parquet"]
_PART_ROWS_MAX = 16_384
"""A part is in memory, and is what a killed run does again: some 0.5 s of a table."""
_PART_SCORES_MAX = 4_000_000
"""About 100 MB of JSON: a task of 1,000 classes has smaller parts."""
_PART_ROWS_MIN = 256


class InputFile(BaseModel):
    """One file of rows, as it was when the plan was made."""

    model_config = ConfigDict(frozen=True)

    uri: str
    """A path, an S3 URI, or the path of a shard within its dataset version."""
    kind: Literal["jsonl", "parquet", "shard", "pictures"]
    content: str
    """Equal for equal content: an ETag, a digest, or size and time of a local file."""


class BatchPlan(BaseModel):
    """What is to be done. It names the model, so a batch that goes on after a promotion has one model's answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    schema_version: Literal[1] = 1
    task: str
    source: str
    model: ModelRef
    files: tuple[InputFile, ...]
    output_format: OutputFormat
    part_rows: int = Field(gt=0)

    def part_name(self, file: int, part: int) -> str:
        return f"part-{file:05d}-{part:05d}.{self.output_format}"

    def errors_name(self, file: int, part: int) -> str:
        return f"errors-{file:05d}-{part:05d}.jsonl"


class BatchSummary(BaseModel):
    """What was done. Each row of the input is one answer or one error."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    schema_version: Literal[1] = 1
    task: str
    model_digest: str
    source: str
    classes: tuple[str, ...]
    """The order of `scores` in Parquet."""
    num_rows: int
    num_answers: int
    num_errors: int


def part_rows_of(num_classes: int) -> int:
    """How many rows a part has."""
    return max(_PART_ROWS_MIN, min(_PART_ROWS_MAX, _PART_SCORES_MAX // max(num_classes, 1)))


def difference(found: BatchPlan, wanted: BatchPlan) -> str:
    """What keeps a batch from going on with a plan that it found, in words; "" when nothing does. The model may be
    another one: the plan's counts."""
    for name in ("task", "source", "output_format", "part_rows"):
        old, new = getattr(found, name), getattr(wanted, name)
        if old != new:
            return f"`{name}` was {old}, now it is {new}"
    if found.files != wanted.files:
        old_files, new_files = set(found.files), set(wanted.files)
        changed = sorted(each.uri for each in old_files ^ new_files)
        return f"the input files have changed ({changed[0] if changed else 'their order'})"
    return ""

"""The lines and rows of a label shard, one by one: what they say, or what is wrong with the first that is wrong. Pure.

A whole file goes by column (`opinions.py`). What that does not take in comes here, where it has a line and a reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from ratchet.core.errors import DataRejected
from ratchet.core.fields import parse_fields, refuse_unknown
from ratchet.core.labels.input_values import MOMENT, WrongValue, expected_of, input_values, label_value
from ratchet.core.labels.queue_marks import QUEUE_MARK, is_mark
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, TagsOutput
from ratchet.core.labels.shards import Text, check_years
from ratchet.core.lines import read_objects
from wire.validation_text import found_text

NEXT_STEP = "Correct it and push the file again: a shard that has landed never changes."
_MARK = "a mark as `ratchet labels queue` writes it, such as 'audit.blind.…'"
Row = dict[str, Any]
"""The fields of `ExampleSchema.opinions_schema`; an image is a `GivenImage` until somebody has read it."""


class _Said(BaseModel):
    """What each line has, whatever its inputs are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Text = Field(min_length=1, max_length=256)
    label: Any
    labeler: Text = Field(min_length=1, max_length=256)
    labeled_at: Annotated[AwareDatetime, AfterValidator(check_years)]
    corrects: StrictBool | None = None


def parse_label(value: Mapping[str, Any], schema: ExampleSchema, *, where: str, next_step: str = NEXT_STEP) -> Row:
    """One opinion from its fields; `where` (file and line) and `next_step` go into the error."""
    expected = _expected(schema)
    refuse_unknown(value, expected, where=where, next_step=next_step)
    said = parse_fields(_Said, value, expected=expected, where=where, next_step=next_step)
    try:
        _check_uri(value)
        _check_mark(value)
        label = label_value(said.label, schema)
        inputs = _inputs_of(value, schema)
    except WrongValue as error:
        raise DataRejected(f"{where}: {error}. {next_step}") from None
    row = {
        "id": said.id,
        "inputs": inputs,
        "label": label,
        "labeler": said.labeler,
        "labeled_at": said.labeled_at,
        "corrects": bool(said.corrects),
        QUEUE_MARK: value.get(QUEUE_MARK),
    }
    return row if value.get("uri") is None else {**row, "uri": value["uri"]}


def parse_labels(
    lines: Iterable[bytes], *, schema: ExampleSchema, where: str, defaults: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Row]]:
    """(place, opinion) of each line of a JSONL shard; the first wrong line, or no line at all, is DataRejected.

    defaults: stand in for fields that a line lacks.
    """
    place = ""
    for place, value in read_objects(lines, where=where, next_step=NEXT_STEP):
        yield place, parse_label({**(defaults or {}), **value}, schema, where=place)
    if not place:
        raise nothing_in(where)


def parse_label_rows(
    rows: Iterable[Mapping[str, Any]], *, schema: ExampleSchema, where: str, defaults: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Row]]:
    """The same of a shard that came as rows of fields (Parquet)."""
    place = ""
    for number, row in enumerate(rows, 1):
        place = f"{where}, row {number}"
        yield place, parse_label({**(defaults or {}), **row}, schema, where=place)
    if not place:
        raise nothing_in(where)


def nothing_in(where: str) -> DataRejected:
    return DataRejected(f"{where}: no labels in it. Push a file with at least one line.")


def _inputs_of(value: Mapping[str, Any], schema: ExampleSchema) -> dict[str, Any]:
    short = schema.short_input
    # null is no value here, for a column of Arrow cannot tell it from a field that is not there.
    if short is not None and value.get("inputs") is None:
        found = value.get("features")
        if found is None and not short.optional:
            raise WrongValue(f"`features` must be {expected_of(short)}, found none")
        return input_values({short.name: found}, schema, is_short=True)
    if value.get("features") is not None:
        raise WrongValue("`features` and `inputs` are two names of one thing; only one of them may be given")
    if "inputs" not in value:
        raise WrongValue("`inputs` is missing; it must be an object with a value for each input")
    given = value["inputs"]
    if not isinstance(given, Mapping):
        raise WrongValue(f"`inputs` must be an object with a value for each input, found {found_text(given)}")
    return input_values(given, schema)


def _check_uri(value: Mapping[str, Any]) -> None:
    uri = value.get("uri")
    if uri is not None and not isinstance(uri, str):
        raise WrongValue(f"`uri` must be a text, found {found_text(uri)}")


def _check_mark(value: Mapping[str, Any]) -> None:
    mark = value.get(QUEUE_MARK)
    if mark is not None and not is_mark(mark):
        raise WrongValue(f"`{QUEUE_MARK}` must be {_MARK}, found {found_text(mark)}")


def _expected(schema: ExampleSchema) -> Mapping[str, str]:
    short, output = schema.short_input, schema.output
    label = "a text: the name of a class, in quotes"
    if isinstance(output, NumberOutput):
        label = "a number"
    elif isinstance(output, TagsOutput):
        label = "a list of texts: the names of its tags"
    inputs = {"inputs": "an object with a value for each input"}
    return {
        "id": "a text of 1 to 256 characters",
        **({"features": f"a list of {short.size} numbers"} if short else {}),
        **inputs,
        "label": label,
        "labeler": "a text of 1 to 256 characters",
        "labeled_at": MOMENT,
        "corrects": "true or false",
        **({"uri": "a text"} if short else {}),
        QUEUE_MARK: _MARK,
    }

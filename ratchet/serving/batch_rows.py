"""The answers to many rows as the content of files: JSON lines or Parquet. Pure.

Here and not in core for the sake of orjson, which is installed with the model server: it takes a fifth of the time.
"""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.labels.answers import Answers
from ratchet.core.labels.schema import OutputSpec
from ratchet.core.models.batch import OutputFormat


class BatchAnswers(NamedTuple):
    """What became of the rows of one part."""

    rows: Sequence[int]
    """(B,): the number of each row with an answer in its file, from 1, rising; of JSONL that of the line."""
    ids: Sequence[Any]
    """(B,): as the file has them; None where it has none."""
    answers: Answers
    errors: Sequence[tuple[int, Any, str]]
    """Row, id, and why there is no answer."""


def render_answers(answered: BatchAnswers, output: OutputSpec, *, file: str, digest: str, form: OutputFormat) -> bytes:
    """The content of a part."""
    classes = tuple(getattr(output, "classes", ()))
    if form == "jsonl":
        return _as_lines(answered, classes, file=file, digest=digest)
    answers, num = answered.answers, len(answered.rows)
    scores, probability = answers.scores_BK, answers.probability_B
    columns: dict[str, Any] = {
        "id": pa.array([_id_text(each) for each in answered.ids], pa.string()),
        "file": pa.array([file] * num, pa.string()),
        "row": pa.array(answered.rows, pa.int64()),
        "answer": answers.labels,
        "probability": pa.nulls(num, pa.float64()) if probability is None else pa.array(probability),
        "scores": pa.array([None] * num if scores is None else list(scores), pa.list_(pa.float64())),
        "model_digest": pa.array([digest] * num, pa.string()),
    }
    table = pa.table(columns).replace_schema_metadata({"classes": orjson.dumps(classes)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", use_dictionary=["file", "model_digest"])
    return buffer.getvalue()


def _as_lines(answered: BatchAnswers, classes: Sequence[str], *, file: str, digest: str) -> bytes:
    answers, num = answered.answers, len(answered.rows)
    scores, probability = answers.scores_BK, answers.probability_B
    lines = [
        orjson.dumps(
            {
                "id": example_id,
                "file": file,
                "row": row,
                "answer": answer,
                "probability": each_probability,
                "scores": each_scores and dict(zip(classes, each_scores, strict=True)),
                "model_digest": digest,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for row, example_id, answer, each_probability, each_scores in zip(
            answered.rows,
            answered.ids,
            answers.labels.to_pylist(),
            [None] * num if probability is None else probability.tolist(),
            [None] * num if scores is None else scores.tolist(),
            strict=True,
        )
    ]
    return b"".join(lines)


def render_errors(answered: BatchAnswers, *, file: str) -> bytes:
    """The rows of a part that have no answer, a JSON line each."""
    return b"".join(
        orjson.dumps({"id": _id_text(each), "file": file, "row": row, "error": text}, option=orjson.OPT_APPEND_NEWLINE)
        for row, each, text in answered.errors
    )


def _id_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits
        return str(value)

"""Answer many rows at once with the champion: no server is asked, and no label is made of it."""

from kfp import dsl

from components.batch_predict.component import batch_predict as batch_predict_component
from pipelines.parts import with_settings


@dsl.pipeline(name="batch-predict", description="Answer a dataset version, or files in S3, with the champion.")
def batch_predict(task: str, source: str, output: str, output_format: str = "jsonl"):
    """source: `<task>/v<n>`, or an S3 prefix of files. output: an S3 folder; a run that names the one of a run before
    it goes on there. output_format: `jsonl` or `parquet`."""
    with_settings(batch_predict_component(task=task, source=source, output=output, output_format=output_format))

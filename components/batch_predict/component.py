"""The KFP contract of `batch_predict`."""

from typing import NamedTuple

from kfp import dsl

from components.image import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def batch_predict(
    task: str, source: str, output: str, output_format: str, metrics: dsl.Output[dsl.Metrics]
) -> NamedTuple("Outputs", [("num_answers", int), ("num_errors", int)]):
    """Answer the rows of a dataset version or of files in S3 with the champion, into an S3 folder."""
    from components.batch_predict.step import batch_predict_step
    from ratchet import wiring

    place = wiring.batch_place(output)
    summary = batch_predict_step(
        wiring.task_spec(task),
        source=source,
        output_format=output_format,
        place=place,
        ports=wiring.batch_ports(source),
    )
    for name in ("num_rows", "num_answers", "num_errors"):
        metrics.log_metric(name, getattr(summary, name))
    return (summary.num_answers, summary.num_errors)

"""The code that a training trains with: the user's as it is now, or that of a model."""

from ratchet.core.errors import DataRejected
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.identity import read_model
from ratchet.tasks.model_files import code_carried_by
from ratchet.training.job import TrainingJob


def code_of(job: TrainingJob) -> TaskCode:
    """The same for all workers, also after a restart, and what the model will carry. DataRejected when it is not what
    the training began with."""
    if job.code_path is None:
        code = collect_task_code(job.spec)
    else:
        code = code_carried_by(read_model(job.code_path), job.spec)
    if job.code_digest and code.digest != job.code_digest:
        raise DataRejected(
            f"The code of {job.spec.implementation} was edited after this training began, so its workers would train "
            "two different things. Start the run again."
        )
    return code

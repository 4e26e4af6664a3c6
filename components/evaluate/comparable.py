"""Whether two models of one task can answer the same rows."""

from typing import Any

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import InputSpec
from ratchet.tasks.spec import TaskSpec

_SHAPE = ("type", "size", "width", "height", "channels")


def check_comparable(champion: TaskSpec, challenger: TaskSpec) -> None:
    """That each input of the champion is one of the challenger's, of the same type and shape, and that both answer with
    the same type of output. DataRejected says what to do otherwise. An input more of the challenger's does no harm."""
    before, now = champion.examples.short_input, challenger.examples.short_input
    if before is not None and now is not None and before.size != now.size:
        raise DataRejected(
            f"The champion of {challenger.name!r} takes {before.size} features and the challenger {now.size}: no row "
            f"can be given to both, so nothing can be compared. Set features.num_features back to {before.size}, or "
            f"give the task with {now.size} features a new name."
        )
    if champion.output.type != challenger.output.type:
        raise DataRejected(
            f"The champion of {challenger.name!r} answers with a {champion.output.type} and the challenger with a "
            f"{challenger.output.type}: nothing can be compared. Set `output` back, or give the task a new name."
        )
    given = {each.name: _shape_of(each) for each in challenger.inputs}
    wrong = [each.name for each in champion.inputs if given.get(each.name) != _shape_of(each)]
    if wrong:
        raise DataRejected(
            f"The champion of {challenger.name!r} takes {', '.join(wrong[:8])}, which the challenger does not have, or "
            "has with another type or size: no row can be given to both, so nothing can be compared. Set `inputs` "
            "back, or give the task a new name."
        )


def _shape_of(declared: InputSpec) -> dict[str, Any]:
    return {name: getattr(declared, name) for name in _SHAPE if hasattr(declared, name)}

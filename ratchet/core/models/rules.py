"""A gate that nothing can fail is none: which rules of a policy can refuse. Pure."""

from ratchet.core.errors import PolicyError
from ratchet.core.labels.schema import OutputSpec
from ratchet.core.models.evaluation import EvaluationPolicy


def check_rules(output: OutputSpec, policy: EvaluationPolicy) -> None:
    """That a bad first model, and a worse challenger, can fail. PolicyError names the field of the policy."""
    floors = {"category": ("accuracy_min", policy.accuracy_min > 0), "tags": ("tags_f1_min", policy.tags_f1_min > 0)}
    floor, can_fail = floors.get(output.type, ("r2_min", True))
    if not can_fail:
        raise PolicyError(
            f"The gate cannot refuse a first model: {floor} is 0, which every model reaches. Set {floor} in "
            "evaluation.yaml to what a useful model reaches at least."
        )
    if policy.gain_min <= -1 and policy.loss_max >= 1:
        raise PolicyError(
            "The gate cannot refuse a challenger that is worse than the champion: gain_min is -1 and loss_max is 1, "
            "which every challenger holds. Set loss_max in evaluation.yaml to the most that may be lost."
        )

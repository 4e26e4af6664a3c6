"""Go one model back, and refuse the one that served."""

import logging

from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import roll_back
from ratchet.core.rollout.policy import RolloutPolicy

log = logging.getLogger(__name__)


def rollback_step(ports: RolloutPorts, *, task: str, reason: str, run_id: str, policy: RolloutPolicy) -> str:
    """Close an open canary, else put the previous champion back. Gives the version of the champion that serves now.

    What the same run has ended already stays as it is, so this may follow every canary that was not promoted, and may
    be killed and repeated.
    """
    after = roll_back(ports, task=task, reason=reason, run_id=run_id, ready_s_max=policy.ready_s_max)
    log.info("%s: version %s serves (%s)", task, after.champion.version, reason)
    for text in after.told:
        log.warning("%s: %s", task, text)
    return after.champion.version

"""The gateway as a witness: who answers users is asked there, not read in a status."""

import logging
from collections.abc import Collection

from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.traffic import ROUTED_S_MAX, close_canary
from ratchet.core.errors import Unavailable
from ratchet.core.verdict import Reason

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 0.25
_NUM_QUESTIONS = 60
"""How often the gateway is asked who answers: a revision with 10 % left shows itself with probability 99.8 %."""


def check_gone(ports: RolloutPorts, *, task: str, names: Collection[str], timeout_s: float = ROUTED_S_MAX) -> Reason:
    """Ask the gateway, as a user would, until none of these (revisions, model digests) answers any more.

    Unavailable when one still does after `timeout_s`: the status said otherwise. A gateway that cannot be asked is no
    error here, but the reason that is given says so: nobody was seen to be safe.
    """
    deadline_s = ports.clock.elapsed_s() + timeout_s
    while True:
        answerers = _ask_gateway(ports, task)
        if isinstance(answerers, str):
            log.warning("%s: %s", task, answerers)
            return Reason(check="gateway", value=None, limit="not asked", passed=False, text=answerers)
        left = sorted(answerers & set(names))
        if not left:
            text = f"{_NUM_QUESTIONS} requests through the gateway: the revision without traffic answered none"
            return Reason(check="gateway", value=0, limit=0, passed=True, text=text)
        if ports.clock.elapsed_s() >= deadline_s:
            raise Unavailable(
                f"{task}: the gateway still routes users to {', '.join(left)} {timeout_s:g} s after all traffic was "
                f"taken from it. `ratchet rollout status --task {task}`, and the gateway's log, show why."
            )
        ports.clock.sleep(_ASK_AGAIN_S)


def _ask_gateway(ports: RolloutPorts, task: str) -> frozenset[str] | str:
    """Who answers, or why nobody could be asked."""
    if ports.gateway is None:
        return "not verified at the gateway: RATCHET_GATEWAY_ENDPOINT is not set; the status says 0 %"
    try:
        return ports.gateway.fetch_answerers(task, num_requests=_NUM_QUESTIONS)
    except Unavailable as error:
        return f"not verified at the gateway: {error}"


def take_traffic(ports: RolloutPorts, *, task: str, digest: str) -> Reason | None:
    """Take all traffic from the canary with this model and see at the gateway that it is so; None without a canary."""
    state = ports.services.fetch(task)
    close_canary(ports.services, ports.clock, task=task)
    if state is None or not state.canary_revision or not state.stable_revision:
        return None
    return check_gone(ports, task=task, names={state.canary_revision, digest})

"""Which run a person means, and the arguments that the commands about runs share."""

from typing import Annotated

import typer

from cli.limits import TIMEOUT_S_MAX, check_finite
from cli.names import complete_run, known_text
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.ports import Pipelines, RunState

RunArgument = Annotated[
    str, typer.Argument(help="Display name, run id, its first characters, or latest.", autocompletion=complete_run)
]
TimeoutOption = Annotated[
    float, typer.Option(min=1, max=TIMEOUT_S_MAX, callback=check_finite, help="Seconds to wait for the end of the run.")
]
_LONGEST_SEARCH = 1000
_SHORTEST_PREFIX = 4


def find_run(pipelines: Pipelines, run: str) -> RunState:
    """By display name, the newest of it, else by run id, else by the beginning of one id alone; "latest" is the newest
    of all."""
    if found := pipelines.find_runs(run):
        return found[-1]
    if run == "latest" and (newest := pipelines.list_runs(limit=1)):
        return newest[0]
    try:
        return pipelines.fetch_run(run)
    except NotFound:
        newest = pipelines.list_runs(limit=_LONGEST_SEARCH)
        is_prefix = len(run) >= _SHORTEST_PREFIX
        matching = [each for each in newest if is_prefix and each.run_id.startswith(run)]
        if not matching:
            known = known_text(list(dict.fromkeys(each.name for each in newest)))
            raise NotFound(f"There is no run {run!r}; {known}. `ratchet runs list` shows them.") from None
    if len(matching) > 1:
        names = ", ".join(f"{each.run_id} ({each.name})" for each in matching[:5])
        raise DataRejected(f"{len(matching)} runs have ids that begin with {run!r}: {names}. Give more characters.")
    return matching[0]

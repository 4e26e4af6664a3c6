"""What a run came to, kept with it: `s3://ratchet/outcomes/<run id>/`.

- `verdict-<gate>.json`: what a gate decided, written by its step;
- `failure-<step>.json`: why a step failed; gone once the step starts again. One that no repetition mends stands until
  the run has ended: KFP repeats a task whatever its exit code is, and a repeated step then ends at once, as before;
- `origin-<step>.json`: from which run a step took its result over, or why it did its work anew;
- `outcome.json`: what `notify` made of them. One GET a run tells people how it ended.

None of these is evidence for a decision about a model. A step whose verdict cannot be written goes on, because what it
did counts; the outcome then says less.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from ratchet.core import errors
from ratchet.core.errors import FINAL, NotFound, PolicyError, RatchetError
from ratchet.core.layouts import Layout
from ratchet.core.runs.outcome import Ended, Origin, Outcome, RunFailure, decide_outcome
from ratchet.core.verdict import Verdict
from ratchet.processes import exit_with
from ratchet.stores.layout import Store
from ratchet.tasks.user_errors import is_user_error, sentence_of

log = logging.getLogger(__name__)
Part = TypeVar("Part", bound=BaseModel)
_VERDICT, _FAILURE, _ORIGIN = "verdict-", "failure-", "origin-"


class RunOutcomes(Store):
    """The outcomes of runs."""

    layout: ClassVar[Layout] = "outcomes"

    def put_verdict(self, run_id: str, verdict: Verdict) -> None:
        """Keep what a gate decided; a retried step writes over it."""
        self._put(run_id, f"{_VERDICT}{verdict.kind}", verdict.model_dump_json(indent=2))

    def put_origin(self, run_id: str, origin: Origin) -> None:
        """Keep where the result of a step comes from."""
        self._put(run_id, f"{_ORIGIN}{origin.step}", origin.model_dump_json(indent=2))

    def list_origins(self, run_id: str) -> list[Origin]:
        """Of the steps that met an earlier result; none of a run that did all its work itself."""
        found = (self._fetch(uri, Origin) for uri in self._list(run_id, _ORIGIN))
        return [origin for origin in found if origin is not None]

    def put_outcome(self, run: Ended) -> Outcome:
        """Decide and keep how a run ended. Raises what the object store raises."""
        outcome = decide_outcome(run, self._fetch_verdicts(run.run_id), self._fetch_failure(run.run_id))
        self.objects.put(self.uri_of(run.run_id, "outcome"), outcome.model_dump_json(indent=2).encode())
        return outcome

    def fetch_outcome(self, run_id: str) -> Outcome | None:
        """How a run ended; None while it runs, and of a run that has no `notify`."""
        try:
            return Outcome.model_validate_json(self.objects.fetch(self.uri_of(run_id, "outcome")))
        except NotFound:
            return None
        except ValidationError as error:
            log.warning("%s is not an outcome: %s", self.uri_of(run_id, "outcome"), error.errors()[0]["msg"])
            return None

    def uri_of(self, run_id: str, part: str) -> str:
        return self._uri(run_id, f"{part}.json")

    @contextmanager
    def step(
        self, name: str, *, run_id: str, code_digest: Callable[[], str] = lambda: "", is_run_recorded: bool = True
    ) -> Iterator["StepNotes"]:
        """While a step runs: why it fails is written down, and the exception goes on; so does the exit code of it.

        An attempt after one that failed for good raises the same error at once, as long as the run has not ended since.
        is_run_recorded: the run has a `notify` that records its end. Without one every attempt runs.
        """
        failed = self._forget_failure(name, run_id=run_id, is_run_recorded=is_run_recorded)
        if failed is not None:
            log.error("%s is not tried again: an earlier attempt of this run failed, and would fail the same way", name)
            exit_with(_exit_code_of(failed))
            raise _error_of(failed)
        try:
            yield StepNotes(self, run_id)
        except Exception as error:
            failure = failure_of(error, step=name, code_digest=code_digest)
            failure = failure.model_copy(update={"after": self._newest_end(run_id)})
            self._put(run_id, f"{_FAILURE}{name}", failure.model_dump_json(indent=2))
            exit_with(_exit_code_of(failure))
            raise

    def _forget_failure(self, name: str, *, run_id: str, is_run_recorded: bool) -> RunFailure | None:
        """The failure of an earlier attempt, when it stands; any other is removed."""
        uri = self.uri_of(run_id, f"{_FAILURE}{name}")
        with _best_effort(f"forget an earlier failure of {name}"):
            failure = self._fetch(uri, RunFailure) if self.objects.exists(uri) else None
            is_final = failure is not None and not failure.is_retryable and is_run_recorded
            if failure is not None and is_final and failure.after == self._newest_end(run_id):
                return failure
            self.objects.delete(uri)
        return None

    def _newest_end(self, run_id: str) -> str:
        with _best_effort(f"look how run {run_id} ended before"):
            outcome = self.fetch_outcome(run_id)
            return outcome.at.isoformat() if outcome is not None else ""
        return ""

    def _put(self, run_id: str, part: str, text: str) -> None:
        with _best_effort(f"write {part} of run {run_id}"):
            self.objects.put(self.uri_of(run_id, part), text.encode())

    def _fetch_verdicts(self, run_id: str) -> dict[str, Verdict]:
        found = (self._fetch(uri, Verdict) for uri in self._list(run_id, _VERDICT))
        return {verdict.kind: verdict for verdict in found if verdict is not None}

    def _fetch_failure(self, run_id: str) -> RunFailure | None:
        found = (self._fetch(uri, RunFailure) for uri in self._list(run_id, _FAILURE))
        return next((failure for failure in found if failure is not None), None)

    def _list(self, run_id: str, prefix: str) -> list[str]:
        return list(self.objects.list_uris(self.uri_of(run_id, prefix).removesuffix(".json")))

    def _fetch(self, uri: str, kind: type[Part]) -> Part | None:
        try:
            return kind.model_validate_json(self.objects.fetch(uri))
        except (NotFound, ValidationError) as error:
            log.warning("%s is left out: %s", uri, type(error).__name__)
            return None


@dataclass(frozen=True)
class StepNotes:
    """What a step may tell of its run."""

    outcomes: RunOutcomes
    run_id: str

    def origin(self, step: str, *, text: str) -> None:
        """Say that a step had nothing to do, and what stands."""
        self.outcomes.put_origin(self.run_id, Origin(step=step, taken_from="", text=text))

    def verdict(self, path: str) -> None:
        """Keep the verdict that the step wrote to this file."""
        self.outcomes.put_verdict(self.run_id, Verdict.model_validate_json(Path(path).read_bytes()))


def failure_of(error: Exception, *, step: str, code_digest: Callable[[], str] = lambda: "") -> RunFailure:
    """Expected errors say themselves whether a retry helps; an exception of the user's own code repeats itself."""
    is_final = isinstance(error, FINAL) or (not isinstance(error, RatchetError) and is_user_error(error))
    try:
        digest = code_digest() if is_final else ""
    except (RatchetError, OSError):
        digest = ""
    kind = type(error).__name__ if isinstance(error, RatchetError) else ""
    return RunFailure(step=step, text=sentence_of(error), is_retryable=not is_final, code_digest=digest, kind=kind)


def _error_of(failure: RunFailure) -> RatchetError:
    """The error again; an exception of the user's code as a PolicyError with its words."""
    kind = getattr(errors, failure.kind, PolicyError) if failure.kind else PolicyError
    error: RatchetError = kind(failure.text)
    return error


def _exit_code_of(failure: RunFailure) -> int:
    if failure.is_retryable and not failure.kind:
        return 1
    return _error_of(failure).exit_code


@contextmanager
def _best_effort(deed: str) -> Iterator[None]:
    try:
        yield
    except RatchetError as error:
        log.warning("could not %s: %s", deed, error)

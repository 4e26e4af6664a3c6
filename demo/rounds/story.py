"""Two rounds of a real task, told from the outside: before, what has changed, and after."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from demo.rounds.data import Answer, Row, TwoRounds
from demo.story import Story, watch_next_run
from ratchet import wiring
from ratchet.actions.labels.labelers import list_labelers
from ratchet.core.errors import Unavailable
from ratchet.core.labels.quality import QualityPolicy
from ratchet.core.labels.reliability.page import share_text
from ratchet.core.models.ledger import champion_of

_BATCH = 50
"""Instances a request. 200 mails hold the model's only thread for over a second, the limit of a health check."""
_ASK_S = 60.0


def write_configs(configs: Path, rounds: TwoRounds) -> None:
    """The task's files, in the place of the demo's other tasks."""
    for other in (configs / "tasks").glob("*.yaml"):
        other.unlink()
    for policy, changes in rounds.policies.items():
        default = yaml.safe_load((configs / "policies" / f"{policy}.yaml").read_text())
        _write_yaml(configs / "policies" / _policy_file(policy, rounds), {**default, **changes})
    _write_task(configs, rounds, rounds.task)


def tell_rounds(story: Story, rounds: TwoRounds) -> None:
    """Both rounds; what is measured goes to `story.figures`. An act that went wrong ends the story."""
    acts = (
        ("1", f"The first labels: {rounds.title}", lambda: _first_round(story, rounds)),
        ("2", f"The world changes: {rounds.what_changed}", lambda: _second_round(story, rounds)),
    )
    for letter, title, act in acts:
        story.screen.begin_act(letter, title)
        started = time.monotonic()
        act()
        story.durations_s[letter] = time.monotonic() - started
        if not story.went_as_told:
            story.screen.say("  The demo ends here: `ratchet runs list` and `ratchet runs logs RUN` show the cause.")
            return
    story.traffic.read_new()


def _first_round(story: Story, rounds: TwoRounds) -> None:
    if rounds.prepare is not None:
        rounds.prepare()
    _push(story, rounds, rounds.first)
    run = watch_next_run(story)
    champion = champion_of(wiring.ledger().list_entries(rounds.name))
    story.check(run.state == "SUCCEEDED", f"run {run.name} succeeded")
    story.check(champion is not None, "the first model is champion and serves")
    if rounds.has_labelers:
        _tell_labelers(story, rounds)
    if champion is not None:
        _measure(story, rounds, "before")
        story.start_traffic([row.instance for row in rounds.held_out])


def _second_round(story: Story, rounds: TwoRounds) -> None:
    if rounds.second_task is not None:
        _write_task(story.configs, rounds, rounds.second_task)
    before = wiring.ledger().list_entries(rounds.name)
    _push(story, rounds, rounds.second)
    run = watch_next_run(story)
    story.check(run.state == "SUCCEEDED", f"run {run.name} succeeded")
    if rounds.has_labelers:
        _tell_labelers(story, rounds)
    for signal in wiring.signals().fetch(rounds.name):
        if signal.kind == "drift":
            story.screen.say(f"  drift: {'seen' if signal.is_bad else 'none'}: {signal.text}")
    if 0 in story.weights_seen:  # before that: of the champion
        weights = story.weights_seen[story.weights_seen.index(0) :]
        story.screen.say(f"  traffic of the new model, as routed: {' → '.join(f'{weight} %' for weight in weights)}")
    entries = wiring.ledger().list_entries(rounds.name)
    for entry in entries[len(before) :]:
        # Each number that allowed a promotion is a page; what stopped a canary is a line.
        why = f"`ratchet models history {rounds.name}` shows why" if entry.kind == "promoted" else entry.reason
        story.screen.say(f"  ledger: {entry.kind.replace('_', ' ')}: version {entry.model.version}: {why}")
    if len(entries) == len(before):
        story.screen.say("  ledger: unchanged: the gate let no challenger pass; `ratchet runs list` shows its reasons")
    _measure(story, rounds, "after")
    _tell_figures(story, rounds)
    story.traffic.read_new()
    failed = story.traffic.failures()
    story.check(not failed, f"users: {len(failed)} of {len(story.traffic.answers)} requests failed")


def _push(story: Story, rounds: TwoRounds, rows: Sequence[Row]) -> None:
    """One shard, so that the sensor sees all of a round at once."""
    lines = [line for row in rows for line in row.lines()]
    data = b"".join(lines)
    wiring.label_store().put_shard(rounds.name, data, num_labels=len(lines))
    examples = f" of {len(rows):,} examples" if len(lines) > len(rows) else ""
    story.screen.say(f"  {len(lines):,} labels{examples} land ({len(data) / 2**20:.1f} MiB)")


def _tell_labelers(story: Story, rounds: TwoRounds) -> None:
    """How far they agree, and what the checks make of each."""
    stores, spec = wiring.label_stores(), wiring.task_spec(rounds.name)
    versions = stores.datasets.list_versions(rounds.name)
    verdict = stores.verdicts.fetch(versions[-1]) if versions else None
    for reason in verdict.reasons if verdict else ():
        if reason.check == "agreement beyond chance":
            story.screen.say(f"  labelers: {reason.text}")
    policy = wiring.policy(rounds.name, "quality", QualityPolicy)
    for row in list_labelers(stores, spec, policy, watch=lambda done, total: None).rows:
        story.screen.say(
            f"  labelers: {row.labeler}: {row.status}, {row.num_opinions:,} labels, "
            f"says what the others say on {share_text(row.agreement)}"
        )


def _measure(story: Story, rounds: TwoRounds, when: str) -> None:
    """Ask the gateway about the rows that no model is trained on."""
    labels = [row.label for row in rounds.held_out]
    answers = _ask(f"{story.settings.gateway_endpoint}/v1/models/{rounds.name}:predict", rounds.held_out)
    value = rounds.measure.of(labels, answers)
    story.figures[when] = value
    story.screen.say(
        f"  {when}: {rounds.measure.name} {value:.3f} on {len(labels):,} rows that no model was trained on"
    )


def _ask(url: str, rows: Sequence[Row]) -> list[Answer]:
    answers: list[Answer] = []
    with httpx.Client(timeout=_ASK_S) as client:
        for start in range(0, len(rows), _BATCH):
            body = {"instances": [row.instance for row in rows[start : start + _BATCH]]}
            answer = client.post(url, json=body)
            if answer.status_code != httpx.codes.OK:
                raise Unavailable(
                    f"{url} answered {answer.status_code}: {answer.text[:300]}. `ratchet status` shows more."
                )
            answers += answer.json()["predictions"]
    return answers


def _tell_figures(story: Story, rounds: TwoRounds) -> None:
    before, after = story.figures["before"], story.figures["after"]
    is_better = after > before if rounds.measure.is_better_when == "higher" else after < before
    told = f"{rounds.measure.name}: {before:.3f} before, {after:.3f} after"
    if rounds.second_task is None:
        story.check(is_better, told)
    else:  # another kind of model challenges: the gate decides, and to stay is a good end too
        story.screen.say(f"  {told}")
    for what, compute in rounds.beside:
        story.figures[what] = compute()
        story.screen.say(f"  beside: {what}: {rounds.measure.name} {story.figures[what]:.3f}")


def _write_task(configs: Path, rounds: TwoRounds, task: Mapping[str, Any]) -> None:
    policies = {name: _policy_file(name, rounds) for name in rounds.policies}
    _write_yaml(configs / "tasks" / f"{rounds.name}.yaml", {**task, **({"policies": policies} if policies else {})})


def _policy_file(policy: str, rounds: TwoRounds) -> str:
    return f"{policy}-{rounds.name}.yaml"


def _write_yaml(path: Path, value: object) -> None:
    """Whole or not at all: the sensor reads it meanwhile."""
    scratch = path.with_suffix(".new")
    scratch.write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    scratch.replace(path)

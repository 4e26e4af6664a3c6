"""Four acts and what must be true after each, checked from the outside: registry, gateway, ledger, traffic."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from demo.data import Scans, careful_labels, careless_labels
from demo.observe import Runs, RunView, TrafficLog, fetch_serving_model, weights_watched
from demo.screen import Screen
from demo.stage import TASK, change_task_implementation, measure_resident_mib, steady_traffic
from ratchet import wiring
from ratchet.actions.rollout.replay import replay_record
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, denied_digests_of
from ratchet.settings import Settings

FIRST = range(220)
MORE = range(220, 560)
CARELESS = range(460, 700)
"""A hundred of these were labelled by others before."""
LAST = range(700, 1700)
_LABELS_A_SHARD = 100
_TRIGGERED_S_MAX = 30.0
_STEP_S_MAX = 300.0
"""For one step of a run: how long a whole run takes is the machine's affair."""
_LOOK_S = 0.4
_WEIGH_S = 2.0
"""Between two looks at the memory: each reads /proc of every process of the machine."""
_BAD_ANSWERS_MAX = 30
"""Of users, though most often none: copies of their requests show what the bad model does before it gets any."""


@dataclass(frozen=True)
class ActCheck:
    passed: bool
    text: str


@dataclass
class Story:
    """The world of the demo and what was found; each act moves it on."""

    settings: Settings
    configs: Path
    scans: Scans | None
    """Of the four acts."""
    screen: Screen
    traffic: TrafficLog
    rate_per_s: float
    stack: ExitStack
    task: str = TASK
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured on rows that no model was trained on."""
    checks: list[ActCheck] = field(default_factory=list)
    durations_s: dict[str, float] = field(default_factory=dict)
    weights_seen: list[int] = field(default_factory=list)
    resident_mib_max: int = 0
    """Of the whole stack, looked at every two seconds while runs run."""
    last_run_id: str = ""

    def check(self, passed: bool, text: str) -> None:
        self.checks.append(ActCheck(passed, text))
        self.screen.show_check(passed, text)

    def start_traffic(self, instances: Sequence[object] = ()) -> None:
        """Users, from now until the end of the story. instances: what they ask; digits when there are none."""
        path = self.traffic.path.with_name("instances.jsonl")
        path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in instances))
        self.stack.enter_context(
            steady_traffic(
                self.settings,
                self.traffic.path,
                task=self.task,
                rate_per_s=self.rate_per_s,
                instances=path if instances else None,
            )
        )

    @property
    def went_as_told(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)


Act = Callable[[Story], None]


def tell(story: Story) -> None:
    """All acts in order; an act that went wrong ends the story, since the next would only confuse."""
    for letter, title, act in ACTS:
        story.screen.begin_act(letter, title)
        started = time.monotonic()
        act(story)
        story.durations_s[letter] = time.monotonic() - started
        if not story.went_as_told:
            story.screen.say("  The demo ends here: `ratchet runs list` and `ratchet runs logs RUN` show the cause.")
            return
    story.traffic.read_new()


def act_a(story: Story) -> None:
    push(story, careful_labels(scans_of(story), FIRST, labelers=("anna", "ben")), by="anna and ben")
    run = watch_next_run(story)
    entries = wiring.ledger().list_entries(TASK)
    champion = champion_of(entries)
    story.check(run.state == "SUCCEEDED", f"run {run.name} succeeded")
    story.check(champion is not None and champion.version == "1", f"ledger: the champion is {_name_of(champion)}")
    check_registry(story, champion="1", previous=None)
    check_gateway(story, champion)
    story.start_traffic()
    story.screen.say(f"  users now send {story.rate_per_s:.0f} requests per second, some of them empty sheets")


def act_b(story: Story) -> None:
    push(story, careful_labels(scans_of(story), MORE, labelers=("anna", "ben")), by="anna and ben")
    run = watch_next_run(story)
    entries = wiring.ledger().list_entries(TASK)
    champion = champion_of(entries)
    story.check(run.state == "SUCCEEDED", f"run {run.name} succeeded")
    story.check(
        entries[-1].kind == "promoted" and entries[-1].model.version == "2",
        f"ledger: {entries[-1].kind.replace('_', ' ')}: {_name_of(entries[-1].model)}: {entries[-1].reason}",
    )
    story.check(
        is_subsequence([10, 50, 100], story.weights_seen),
        f"traffic of the new model, as routed: {' → '.join(f'{weight} %' for weight in story.weights_seen)}",
    )
    check_registry(story, champion="2", previous="1")
    check_gateway(story, champion)
    check_users(story)


def act_c(story: Story) -> None:
    before = wiring.ledger().list_entries(TASK)
    push(story, careless_labels(scans_of(story), CARELESS, labeler="carl"), by="carl, in a hurry")
    run = watch_next_run(story)
    story.check(run.state == "SUCCEEDED", f"run {run.name} succeeded: a refusal is a verdict, not a failure")
    version = wiring.dataset_store().list_versions(TASK)[-1]
    verdict = wiring.verdicts().fetch(version)
    said = verdict.summary() if verdict else "no verdict"
    story.check(verdict is not None and verdict.verdict == "refused" and "carl" in said, f"{version} refused: {said}")
    story.check(run.state_of("finetune") in {"", "SKIPPED"}, "nothing was trained")
    check_unchanged(story, before)
    check_registry(story, champion="2", previous="1")
    check_users(story)


def act_d(story: Story) -> None:
    before = wiring.ledger().list_entries(TASK)
    champion = champion_of(before)
    change_task_implementation(story.configs, "demo.tasks:ContrastDigits")
    story.screen.say("  a colleague merges contrast stretching: it works on every test row and fails on empty sheets")
    push(story, careful_labels(scans_of(story), LAST, labelers=("anna", "ben")), by="anna and ben")
    run = watch_next_run(story)
    entries = wiring.ledger().list_entries(TASK)
    newest = entries[-1]
    story.check(run.state == "SUCCEEDED", f"run {run.name} succeeded: rolling back was its job")
    story.check(run.state_of("register") == "SUCCEEDED", "offline the challenger passed the gate")
    story.check(
        newest.kind == "rolled_back" and newest.model.digest in denied_digests_of(entries),
        f"ledger: {newest.kind.replace('_', ' ')}: {_name_of(newest.model)}: {newest.reason}",
    )
    story.check(champion_of(entries) == champion, f"the champion is still {_name_of(champion)}")
    check_registry(story, champion="2", previous="1")
    check_gateway(story, champion)
    check_rollout(story, run_id=newest.run_id)
    check_users(story, bad_model=newest.model.digest)


ACTS: tuple[tuple[str, str, Act], ...] = (
    ("a", "The first labels make the first champion", act_a),
    ("b", "More labels make a better one: 10 → 50 → 100 % of live traffic", act_b),
    ("c", "A careless labeler is refused by name, and nothing is trained", act_c),
    ("d", "A model that is fine offline but fails live is found on copies of live requests", act_d),
)


def scans_of(story: Story) -> Scans:
    assert story.scans is not None, "the four acts are about scans"
    return story.scans


def push(story: Story, lines: Sequence[str], *, by: str) -> None:
    """Labels land in the bucket, as a labeling tool would put them: in shards."""
    for start in range(0, len(lines), _LABELS_A_SHARD):
        shard = lines[start : start + _LABELS_A_SHARD]
        wiring.label_store().put_shard(TASK, ("\n".join(shard) + "\n").encode(), num_labels=len(shard))
    story.screen.say(f"  {len(lines)} labels land, by {by}")


def watch_next_run(story: Story) -> RunView:
    """Wait until the sensor has started a new run and that run has ended; show it meanwhile."""
    moved_at, weighed_at, progress = time.monotonic(), -_WEIGH_S, None
    runs = Runs(story.settings)
    with story.screen.watching(), weights_watched(story.task, story.weights_seen):
        while True:
            run = runs.fetch_newest()
            if run is not None and run.run_id == story.last_run_id:
                run = None
            story.traffic.read_new()
            if time.monotonic() >= weighed_at + _WEIGH_S:
                story.resident_mib_max = max(story.resident_mib_max, measure_resident_mib())
                weighed_at = time.monotonic()
            story.screen.show(run, story.traffic.render_recent())
            if run is not None and run.is_finished:
                break
            if run is not None and run.progress != progress:
                moved_at, progress = time.monotonic(), run.progress
            waited_s = time.monotonic() - moved_at
            if run is None and waited_s > _TRIGGERED_S_MAX:
                raise Unavailable(
                    f"The sensor started no run in {_TRIGGERED_S_MAX:.0f} s; `ratchet sensor status` shows why."
                )
            if waited_s > _STEP_S_MAX:
                raise Unavailable(
                    f"The run has stood still for {_STEP_S_MAX:.0f} s; `ratchet runs list` shows its state."
                )
            time.sleep(_LOOK_S)
    story.screen.leave(run)
    story.last_run_id = run.run_id
    if run.error:
        story.screen.say(f"  {run.error}", style="red")
    return run


def check_registry(story: Story, *, champion: str, previous: str | None) -> None:
    """MLflow's own REST API: who has which alias, and that the champion's lineage is told."""
    url = f"{story.settings.mlflow_endpoint}/api/2.0/mlflow"
    login = ("ratchet", story.settings.mlflow_token.get_secret_value())
    named = {"name": TASK}
    model = httpx.get(f"{url}/registered-models/get", params=named, auth=login, timeout=10).raise_for_status().json()
    aliases = {item["alias"]: item["version"] for item in model["registered_model"].get("aliases", [])}
    told = {name: aliases.get(name) for name in ("champion", "previous")}
    story.check(told == {"champion": champion, "previous": previous}, f"MLflow: {_aliases_text(told)}")
    query = {**named, "version": champion}
    version = httpx.get(f"{url}/model-versions/get", params=query, auth=login, timeout=10).raise_for_status().json()
    tags = {tag["key"]: tag["value"] for tag in version["model_version"].get("tags", [])}
    wanted = ("dataset_version", "run_id", "run_key", "policy_digest", "torch")
    missing = [name for name in wanted if not tags.get(name)]
    story.check(not missing, f"MLflow: version {champion} names its origin: {tags.get('dataset_version')}")


def check_gateway(story: Story, champion: ModelRef | None) -> None:
    num_features = wiring.task_spec(TASK).features.num_features
    try:
        digest = fetch_serving_model(story.settings.gateway_endpoint, TASK, num_features=num_features)
    except httpx.HTTPError as error:
        story.check(False, f"gateway: {error}")
        return
    story.check(champion is not None and digest == champion.digest, f"gateway: model {digest[:12]} answers")


def check_unchanged(story: Story, before: Sequence[LedgerEntry]) -> None:
    after = wiring.ledger().list_entries(TASK)
    story.check(list(after) == list(before), f"ledger: unchanged, {len(after)} entries")


def check_rollout(story: Story, *, run_id: str) -> None:
    """The bad model failed on copies before users met it, and its recorded rollout is judged again the same."""
    recorded = wiring.rollout_records().fetch(TASK, run_id)
    windows = [judged.look.window for judged in recorded.looks if judged.weight_pct == 0 and judged.look.window]
    num_failed = sum(window.canary.num_errors for window in windows)
    num_copies = sum(window.canary.num_requests for window in windows)
    story.check(num_failed > 0, f"without live traffic it failed {num_failed} of {num_copies} copies of live requests")
    _, _, differences = replay_record(recorded)
    text = "bit for bit the same" if not differences else "; ".join(differences[:3])
    story.check(not differences, f"the record's {len(recorded.looks)} looks replayed: {text}")


def check_users(story: Story, *, bad_model: str = "") -> None:
    """No request of a user failed but what the bad model itself answered."""
    story.traffic.read_new()
    failures = story.traffic.failures()
    caused = [answer for answer in failures if bad_model and answer.model == bad_model]
    others = [answer for answer in failures if answer not in caused]
    total = len(story.traffic.answers)
    if bad_model:
        text = f"users: the bad model failed {len(caused)} of their requests before it was caught"
        story.check(len(caused) <= _BAD_ANSWERS_MAX, text)
    whose = "other requests" if bad_model else "requests"
    story.check(not others, f"users: {len(others)} {whose} of {total} failed")


def is_subsequence(wanted: Sequence[int], seen: Sequence[int]) -> bool:
    """Whether all of `wanted` is in `seen`, in that order."""
    rest = iter(seen)
    return all(value in rest for value in wanted)


def _name_of(model: ModelRef | None) -> str:
    return f"version {model.version} ({model.digest[:12]})" if model else "none"


def _aliases_text(aliases: dict[str, str | None]) -> str:
    return ", ".join(f"{alias} → version {version}" for alias, version in aliases.items() if version) or "no aliases"

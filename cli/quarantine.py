"""`ratchet labels quarantine`: what is in quarantine and why; have it judged again, release it, discard it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.names import TaskOption
from cli.output import JsonFlag, print_json, print_rows, stderr, stdout
from cli.person import user_name
from ratchet.core.errors import DataRejected

if TYPE_CHECKING:
    from ratchet.actions.labels.quarantine import Ordered, QuarantinedLabels
    from ratchet.core.labels.quarantine import OrderKind

KeysArgument = Annotated[
    list[str] | None, typer.Argument(metavar="KEY...", help="Keys of shards, or the ULIDs in them.", show_default=False)
]
AllOption = Annotated[bool, typer.Option("--all", help="All that are in quarantine; discarded ones only by their key.")]
LabelerOption = Annotated[str, typer.Option(help="Only the labels of this labeler.")]
ReasonOption = Annotated[str, typer.Option(help="Why; the order records it.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Show the effect; change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

_SHOWN_PLACES_MAX = 10
_WORDS = {
    "quarantined": "in quarantine",
    "rejudge": "waits to be judged again",
    "release": "waits to be taken in, released",
    "discarded": "discarded",
    "accepted": "accepted after all",
}


class Choice(NamedTuple):
    """Which labels are meant."""

    keys: Sequence[str]
    every: bool
    labeler: str


class How(NamedTuple):
    """What else was given with an order."""

    reason: str
    is_dry: bool
    is_sure: bool
    as_json: bool


def add_to(labels: typer.Typer) -> None:
    """Add the commands of this group."""
    app = typer.Typer(help="Refused labels: show the reasons, and decide about them.", no_args_is_help=True)
    app.command("list")(list_)
    app.command("show")(show)
    app.command("rejudge")(rejudge)
    app.command("release")(release)
    app.command("discard")(discard)
    labels.add_typer(app, name="quarantine")


def list_(
    task: TaskOption,
    whole: Annotated[bool, typer.Option("--whole", help="Also discarded and later accepted labels.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the quarantine by shard and labeler, with reasons. No labeler means the whole shard.

    Example: ratchet labels quarantine list --task digits
    """
    hidden = () if whole else ("discarded", "accepted")
    rows = [_row_of(each) for each in _fetch(task) if each.record.state not in hidden]
    columns = ("key", "labeler", "state", "version", "reason")
    if not as_json:
        rows = [{**row, "state": _WORDS[row["state"]]} for row in rows]
    print_rows(rows, columns=columns, as_json=as_json, empty=f"Nothing of {task} is in quarantine.")


def show(key: Annotated[str, typer.Argument(help="Key of a shard, or its ULID.")], task: TaskOption,
         as_json: JsonFlag = False) -> None:  # fmt: skip
    """Show one shard in quarantine: the reason, since which version, and the orders about it.

    Example: ratchet labels quarantine show 01KDW4ZJ80EXAMPLE0000000AB --task digits
    """
    from ratchet import wiring
    from ratchet.actions.labels.quarantine import choose_by_key

    chosen = choose_by_key(_fetch(task), [key])
    places = {each.record.place for each in chosen}
    orders = [
        order.model_dump(mode="json") for order in wiring.label_stores().orders.list(task) if places & set(order.places)
    ]
    if as_json:
        print_json({"labels": [_row_of(each) for each in chosen], "orders": orders})
        return
    for each in chosen:
        row = _row_of(each)
        whose = f"labels of {row['labeler']!r} in {row['key']}" if row["labeler"] else row["key"]
        stdout.print(f"{whose}: {_WORDS[row['state']]}, {row['version']}\n  {row['reason']}", markup=False)
    for order in orders:
        stdout.print(f"{order['at']} {order['by']}: {order['kind']}: {order['reason']}", markup=False)


def rejudge(
    task: TaskOption,
    keys: KeysArgument = None,
    every: AllOption = False,
    labeler: LabelerOption = "",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    yes: YesOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Judge labels again by the present policy and task: they wait for the next run like new ones.

    Example: ratchet labels quarantine rejudge --all --task digits --reason "limit was too strict"
    """
    _order("rejudge", task, Choice(keys or (), every, labeler), How(reason, dry_run, yes, as_json))


def release(
    task: TaskOption,
    keys: KeysArgument = None,
    every: AllOption = False,
    labeler: LabelerOption = "",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    yes: YesOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Accept labels without another judgement: the next run does not judge them. A shard that cannot be read
    cannot be released.

    Example: ratchet labels quarantine release KEY --task digits --labeler carl --reason "looked at by hand"
    """
    _order("release", task, Choice(keys or (), every, labeler), How(reason, dry_run, yes, as_json))


def discard(
    task: TaskOption,
    keys: KeysArgument = None,
    every: AllOption = False,
    labeler: LabelerOption = "",
    undo: Annotated[bool, typer.Option("--undo", help="Revert a discard: the labels return to quarantine.")] = False,
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    yes: YesOption = False,
    as_json: JsonFlag = False,
) -> None:
    """Exclude labels permanently, and remove them from the list. The shards stay in the bucket; `--undo` reverts it.

    Example: ratchet labels quarantine discard KEY --task digits --reason "broken export"
    """
    kind: OrderKind = "restore" if undo else "discard"
    _order(kind, task, Choice(keys or (), every, labeler), How(reason, dry_run, yes, as_json))


def _order(kind: "OrderKind", task: str, choice: Choice, how: How) -> None:
    if bool(choice.keys) == choice.every:
        raise typer.BadParameter("name the keys of shards, or --all")
    ordered = _give(kind, task, choice, reason=how.reason, is_dry=True)
    if ordered.order is not None and not how.is_dry:
        if not how.is_sure:
            _tell(ordered, kind, is_dry=True)
            typer.confirm("Go on?", abort=True, err=True)
        ordered = _give(kind, task, choice, reason=how.reason, is_dry=False)
    if how.as_json:
        print_json(_json_of(ordered, kind, is_dry=how.is_dry))
    else:
        _tell(ordered, kind, is_dry=how.is_dry)
    if ordered.order is None and any(refusal.why != "so already" for refusal in ordered.refusals):
        raise typer.Exit(DataRejected.exit_code)


def _give(kind: "OrderKind", task: str, choice: Choice, *, reason: str, is_dry: bool) -> "Ordered":
    from ratchet import wiring
    from ratchet.actions.labels.quarantine import choose_by_key, order_about

    def choose(found: "Sequence[QuarantinedLabels]") -> "Sequence[QuarantinedLabels]":
        if choice.keys:
            return choose_by_key(found, choice.keys, labeler=choice.labeler)
        wanted = {"restore": {"discarded"}, "discard": {"quarantined"}}.get(kind, {"quarantined", "rejudge", "release"})
        return [each for each in found if each.record.state in wanted and choice.labeler in {"", each.record.place[1]}]

    wiring.task_spec(task)
    return order_about(
        wiring.label_stores(),
        choose,
        kind=kind,
        task=task,
        reason=reason,
        by=user_name(),
        at=datetime.now(UTC),
        is_dry=is_dry,
    )


def _fetch(task: str) -> "Sequence[QuarantinedLabels]":
    from ratchet import wiring
    from ratchet.actions.labels.quarantine import list_quarantine

    wiring.task_spec(task)
    return list_quarantine(wiring.label_stores(), task=task)


def _row_of(each: "QuarantinedLabels") -> dict[str, Any]:
    key, labeler = each.record.place
    return {
        "key": key,
        "labeler": labeler or None,
        "state": each.record.state,
        "version": each.record.version,
        "reason": each.reason,
        "is_readable": each.is_readable,
    }


def _json_of(ordered: "Ordered", kind: str, *, is_dry: bool) -> dict[str, Any]:
    places = ordered.order.places if ordered.order else ()
    return {
        "order": kind,
        "seq": ordered.order.seq if ordered.order and not is_dry else None,
        "dry_run": is_dry,
        "labels": [{"key": key, "labeler": labeler or None} for key, labeler in places],
        "left_as_they_are": [
            {"key": key, "labeler": labeler or None, "why": why} for (key, labeler), why in ordered.refusals
        ],
    }


def _tell(ordered: "Ordered", kind: str, *, is_dry: bool) -> None:
    for (key, labeler), why in ordered.refusals[:_SHOWN_PLACES_MAX]:
        stderr.print(f"unchanged: {_named(key, labeler)}: {why}", markup=False)
    if len(ordered.refusals) > _SHOWN_PLACES_MAX:
        stderr.print(f"… and {len(ordered.refusals) - _SHOWN_PLACES_MAX} more", markup=False)
    if ordered.order is None:
        stdout.print("Nothing to do.", markup=False)
        return
    places = ordered.order.places
    for key, labeler in places[:_SHOWN_PLACES_MAX]:
        stdout.print(f"{kind}: {_named(key, labeler)}", markup=False)
    more = f" ({len(places) - _SHOWN_PLACES_MAX} not shown)" if len(places) > _SHOWN_PLACES_MAX else ""
    done = f"{len(places)} would be ordered" if is_dry else f"order {ordered.order.seq}: {len(places)}"
    stdout.print(f"{done}{more}. {_NEXT[kind]}", markup=False)


_NEXT = {
    "rejudge": "They wait like new labels; `ratchet labels count` shows them.",
    "release": "They wait like new labels and are not judged; `ratchet labels count` shows them.",
    "discard": "They stay out; `ratchet labels quarantine discard --undo KEY` takes it back.",
    "restore": "They are in quarantine as before.",
}


def _named(key: str, labeler: str) -> str:
    return f"labels of {labeler!r} in {key}" if labeler else key

"""`ratchet space …`: what takes room, how long it stays, and deleting what is over its time."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from cli.output import JsonFlag, print_json, print_rows, stderr
from ratchet.core.layouts import RecordKind
from ratchet.core.ports import StoredObject
from ratchet.core.retention import PROGRESS_KEPT

_BATCH = 1000
_SHOWN_MAX = 20


def add_to(app: typer.Typer) -> None:
    """Add the commands of this group."""
    space = typer.Typer(help="Space used in the object store, and retention.", no_args_is_help=True)
    space.command()(show)
    space.command()(sweep)
    app.add_typer(space, name="space")


def show(as_json: JsonFlag = False) -> None:
    """Show the space that each kind takes in the object store, and its retention. Listing the buckets takes a while.

    Example: ratchet space show
    """
    from ratchet import wiring
    from ratchet.actions.space import measure_space, size_text

    report = measure_space(wiring.object_store(), wiring.space_kinds(), now=datetime.now(UTC))
    kept = kept_texts()
    rows = [{**size.model_dump(), "kept": kept.get(size.kind, "permanently")} for size in report.sizes]
    if as_json:
        print_json({"at": report.at, "sizes": rows})
        return
    shown = [{**row, "size": size_text(row["size_bytes"], is_whole=row["is_whole"])} for row in rows]
    print_rows(shown, columns=("kind", "size", "num_objects", "kept", "uri"), as_json=False)


def kept_texts() -> dict[str, str]:
    """How long each kind stays by the default policy, in words."""
    from ratchet import wiring

    policy = wiring.default_retention()
    days = {"payloads": policy.payload_days, "feedback": policy.feedback_days, "rollouts": policy.rollout_days}
    days |= {"proofs": policy.proof_days, "guard": policy.decision_days}
    days["progress"] = PROGRESS_KEPT / timedelta(days=1)
    told = {kind: f"{num:g} days" if num else "permanently" for kind, num in days.items()}
    if policy.refused_model_days:
        told["models"] = f"permanently; refused ones {policy.refused_model_days:g} days"
    return {**told, "ticks": "30 days, the newest 500"}


def sweep(
    is_dry_run: Annotated[bool, typer.Option("--dry-run", help="List what is due; delete nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete expired records now. The guard does this automatically once an hour.

    Examples: ratchet space sweep --dry-run · ratchet space sweep
    """
    from ratchet import wiring
    from ratchet.actions.retention import list_due

    now = datetime.now(UTC)
    if is_dry_run:
        due = [(one.kind, one.stored) for one in list_due(wiring.retention_ports(), now=now)]
        _tell_due(due, as_json=as_json)
        return
    num, size_bytes = _sweep_all(now)
    rows = [{"kind": kind, "num_objects": num[kind], "size_bytes": size_bytes[kind]} for kind in sorted(num)]
    print_rows(rows, columns=("kind", "num_objects", "size_bytes"), as_json=as_json, empty="Nothing is due.")


def _sweep_all(now: datetime) -> tuple[Counter[RecordKind], Counter[RecordKind]]:
    from ratchet import wiring
    from ratchet.actions.retention import sweep as sweep_once

    num, size_bytes = Counter[RecordKind](), Counter[RecordKind]()
    while True:
        swept = sweep_once(wiring.retention_ports(), now=now, num_max=_BATCH)
        num.update(swept.num)
        size_bytes.update(swept.size_bytes)
        if not swept.is_cut_off:
            return num, size_bytes
        stderr.print(f"{num.total()} objects deleted, more are due")


def _tell_due(due: list[tuple[RecordKind, StoredObject]], *, as_json: bool) -> None:
    from ratchet.actions.space import size_text

    rows: list[dict[str, Any]] = [
        {"kind": kind, "uri": stored.uri, "size_bytes": stored.size_bytes, "last_modified_at": stored.last_modified_at}
        for kind, stored in due
    ]
    if as_json:
        print_json(rows)
        return
    print_rows(rows[:_SHOWN_MAX], columns=("kind", "last_modified_at", "uri"), as_json=False, empty="Nothing is due.")
    if rows:
        total = size_text(sum(row["size_bytes"] for row in rows))
        stderr.print(f"{len(rows)} objects with {total} are due; {min(len(rows), _SHOWN_MAX)} are shown.")

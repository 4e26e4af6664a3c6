"""`ratchet models reproduce`: train a registered model once more from its lineage, and compare the bits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.exit_codes import NOT_REPRODUCED
from cli.known_models import ModelArgument, fetch_model
from cli.output import JsonFlag, print_json, stderr, stdout, table_of
from ratchet.core.errors import DataRejected
from wire.printable import printable

if TYPE_CHECKING:
    from ratchet.core.models.reproduction import ArrayDifference, Reproduction
    from ratchet.core.models.training_history import EpochMetrics

KeepOption = Annotated[
    Path | None,
    typer.Option("--keep", help="Write the reproduced model into this folder, which must be new or empty."),
]
AnywayFlag = Annotated[
    bool,
    typer.Option("--anyway", help="Train also where the dataset version is not what it was, after an erasure."),
]


def reproduce_model(
    model: ModelArgument, keep: KeepOption = None, is_anyway: AnywayFlag = False, as_json: JsonFlag = False
) -> None:
    """Train a registered model again on this machine, from its lineage, and compare the weights bit for bit.

    The dataset version, the code that the model carries and the base model are the training's own. Exit 0: identical;
    12: the weights differ, and the output names the versions, CPU or threads that differ, the tensors, and the share
    of equal answers on the test split; 7: something of the lineage is gone. It writes nothing but --keep.

    Example: ratchet models reproduce digits@champion
    """
    from ratchet import wiring
    from ratchet.actions.models.reproducing import reproduce

    if keep is not None:
        _make_empty(keep)
    found, known = fetch_model(model)
    with _progress(f"training {known.task}/{found.name} again") as tell:
        result = reproduce(
            found,
            known.models,
            task=known.task,
            ports=wiring.reproduce_ports(),
            tell=tell,
            keep_path=keep,
            is_anyway=is_anyway,
        )
    if as_json:
        print_json(json_of(result, keep))
    else:
        _print(result, keep)
    if result.result == "differs":
        raise typer.Exit(NOT_REPRODUCED)


def json_of(result: "Reproduction", keep: Path | None) -> dict[str, Any]:
    """Named fields for each pair and triple of the result."""
    return result.model_dump(mode="json") | {
        "environment": [each._asdict() for each in result.environment],
        "arrays": result.arrays
        and result.arrays._asdict() | {"largest": [each._asdict() for each in result.arrays.largest]},
        "answers": result.answers and result.answers._asdict() | {"share": result.answers.share},
        "kept_in": str(keep) if keep else None,
    }


def _make_empty(keep: Path) -> None:
    """Before the training, which may take hours."""
    try:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise DataRejected(f"--keep {keep}: it is there and is no empty folder. Name a new one.")
        keep.mkdir(parents=True, exist_ok=True)
    except ValueError as error:  # a NUL in the name; what the machine refuses, `cli.main` says
        raise DataRejected(f"--keep {printable(str(keep))}: {error}. Name a folder that can be made.") from None


@contextmanager
def _progress(what: str) -> "Iterator[Callable[[EpochMetrics], None]]":
    """Epochs on standard error: the newest one on a terminal, a line each in a log."""
    if not stderr.is_terminal:
        stderr.print(what, markup=False)
        yield lambda epoch: stderr.print(_epoch_text(epoch), markup=False)
        return
    with stderr.status(what) as status:
        yield lambda epoch: status.update(f"{what}: {_epoch_text(epoch)}")


def _epoch_text(epoch: "EpochMetrics") -> str:
    validation = "" if epoch.val_loss is None else f", validation loss {epoch.val_loss:.4g}"
    return f"epoch {epoch.epoch}, loss {epoch.train_loss:.4g}{validation}"


def _print(result: "Reproduction", keep: Path | None) -> None:
    for sentence in result.sentences:
        stdout.print(sentence, markup=False)
    if result.arrays is not None and result.arrays.largest:
        rows = [_row_of(each) for each in result.arrays.largest]
        stdout.print(table_of(rows, columns=("name", "largest_difference", "of_the_largest_number")))
    if keep is not None:
        stderr.print(f"the reproduced model is in {keep}", markup=False)


def _row_of(difference: "ArrayDifference") -> dict[str, str]:
    return {
        "name": difference.name,
        "largest_difference": difference.note or f"{difference.absolute:.3g}",
        "of_the_largest_number": "" if difference.relative is None else f"{difference.relative:.2g}",
    }

"""`ratchet run …` and `ratchet runs …`: start a run, look at runs, repeat and end them."""

import typer

from cli.runs import batch_predict, changing, drift_monitor, reading, retrain


def add_to(app: typer.Typer) -> None:
    """Add the commands of both groups."""
    starting = typer.Typer(help="Start a pipeline by hand.", no_args_is_help=True)
    retrain.add_to(starting)
    drift_monitor.add_to(starting)
    batch_predict.add_to(starting)
    app.add_typer(starting, name="run")
    runs = typer.Typer(help="Show pipeline runs.", no_args_is_help=True)
    reading.add_to(runs)
    changing.add_to(runs)
    app.add_typer(runs, name="runs")

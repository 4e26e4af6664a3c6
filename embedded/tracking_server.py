"""`python -m embedded.tracking_server DATABASE PORT`: MLflow on loopback, once its tables are there.

MLflow makes its tables at the first request. On a slow machine the readiness probe asks again before that is done, two
threads then migrate one database, and it never starts again ("table … already exists").
"""

import sys
from pathlib import Path

import uvicorn


def make_database(path: Path) -> None:
    """Make all tables of a new database. Under its name it is whole; a kill leaves a `.half` for the next start."""
    if path.exists():
        return
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    half = path.with_suffix(".half")
    half.unlink(missing_ok=True)
    engine = sqlalchemy.create_engine(f"sqlite:///{half}")
    _initialize_tables(engine)
    engine.dispose()
    half.rename(path)


def main() -> None:
    database, port = Path(sys.argv[1]), int(sys.argv[2])
    make_database(database)
    uvicorn.run(
        "mlflow.server.fastapi_app:app", host="127.0.0.1", port=port, log_level="warning", access_log=False, workers=1
    )


if __name__ == "__main__":
    main()

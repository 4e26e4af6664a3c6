"""`python -m embedded.tracking_server DATABASE PORT TOKEN_FILE`: MLflow on loopback, once its tables are there.

Its clients send the token from MLFLOW_TRACKING_TOKEN; a browser asks for it: any name, the token as password.

MLflow makes its tables at the first request. On a slow machine the readiness probe asks again before that is done, two
threads then migrate one database, and it never starts again ("table … already exists").
"""

import sys
from pathlib import Path

from wire.callers import LoopbackOnly, TokenOnly
from wire.request_limits import RequestLimits, serve_limited

HEALTH_PATH = "/health"
"""Open to every local user."""
_LIMITS = RequestLimits(body_bytes_max=5 * 1024**3)
"""Artifacts pass through; S3 takes no larger object at once."""
_ADVICE = "MLflow asks for a token: set MLFLOW_TRACKING_TOKEN, for example by `set -a; . .ratchet/profile.env; set +a`."


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
    database, port, token_file = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    make_database(database)
    from mlflow.server.fastapi_app import app

    guarded = TokenOnly(app, token=token_file.read_text().strip(), open_paths={HEALTH_PATH}, advice=_ADVICE)
    whole = LoopbackOnly(guarded)
    serve_limited(whole, limits=_LIMITS, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()

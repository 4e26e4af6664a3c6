"""MLflow's database is whole before anybody can ask for it."""

import sqlite3

import pytest
import sqlalchemy

from embedded import tracking_server


@pytest.mark.slow
def test_a_database_whose_making_was_killed_is_made_anew(tmp_path, monkeypatch):
    from mlflow.store.db import utils  # 1.5 s, which only the worker that runs this test has to pay

    path, half = tmp_path / "mlflow.db", tmp_path / "mlflow.half"
    is_killed = [True, False]

    def make_tables(engine: sqlalchemy.Engine) -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("create table experiments (x)"))
        if is_killed.pop(0):
            raise KeyboardInterrupt

    monkeypatch.setattr(utils, "_initialize_tables", make_tables)
    with pytest.raises(KeyboardInterrupt):
        tracking_server.make_database(path)
    assert half.exists() and not path.exists()
    tracking_server.make_database(path)
    assert path.exists() and not half.exists()
    tracking_server.make_database(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from experiments").fetchone() == (0,)

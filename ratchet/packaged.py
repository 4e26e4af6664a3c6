"""What Ratchet carries beside its modules: from a wheel in its packages, from a checkout at its root."""

from pathlib import Path

_HERE = Path(__file__).parent


def packaged_configs() -> Path:
    """The tasks, policies and profiles that Ratchet comes with."""
    return _carried("configs", "configs")


def packaged_runtimes() -> Path:
    """The serving runtimes that a cluster gets too."""
    return _carried("runtimes", "deploy/base")


def packaged_lock() -> Path:
    """The exact versions of all that Ratchet imports; only a checkout has it."""
    return _HERE.parent / "requirements.lock"


def default_configs() -> Path:
    """`configs` of the working folder where there is one, else the packaged ones."""
    return Path("configs") if Path("configs").is_dir() else packaged_configs()


def _carried(installed: str, in_checkout: str) -> Path:
    folder = _HERE / installed
    return folder if folder.is_dir() else _HERE.parent / in_checkout

"""The two git repositories that a stack knows: the one of dataset versions, and the user's code."""

import subprocess
from pathlib import Path

from embedded.layout import make_private_dir
from ratchet.core.errors import Unavailable
from ratchet.settings import child_env

GIT_OLDEST = (2, 32)
"""GIT_CONFIG_GLOBAL, which keeps a user's own settings out of the dataset repository, came with it."""
INSTALL_GIT = f"Install git {'.'.join(map(str, GIT_OLDEST))} or later"
_GIT_WITHIN_S = 30


def make_dataset_repo(path: Path) -> None:
    """A bare repository whose branch is `main`; one that is there stays."""
    if (path / "HEAD").is_file():
        return
    make_private_dir(path)
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(path))


def commit_of(project_dir: Path) -> str:
    """The commit of the user's code, with `-dirty` when files differ from it; empty when it is in no repository."""
    try:
        # --exclude=*: no tag may name it, so --always gives the commit.
        return _git("-C", str(project_dir), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except Unavailable:
        return ""


def resolve_commit(project_dir: Path, revision: str) -> str:
    """The commit that a name stands for in the repository of this folder; "" where there is none of that name."""
    if revision.startswith("-"):  # an option of git's, and no name
        return ""
    try:
        return _git("-C", str(project_dir), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except Unavailable:
        return ""


def _git(*arguments: str) -> str:
    try:
        run = subprocess.run(
            ["git", *arguments], env=child_env({}), check=True, capture_output=True, text=True, timeout=_GIT_WITHIN_S
        )
    except FileNotFoundError:
        raise Unavailable(f"git is not installed; datasets are versioned with it. {INSTALL_GIT}.") from None
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise Unavailable(f"`git {' '.join(arguments)}` failed: {said}. `ratchet doctor` checks git.") from None
    return run.stdout.strip()

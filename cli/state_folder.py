"""The state folder of the stack that the environment names."""

from typing import TYPE_CHECKING

from ratchet.settings import state_dir_from_env

if TYPE_CHECKING:
    from embedded.layout import Layout


def own_layout() -> "Layout":
    """Whether or not a stack runs there, and without its profile."""
    from embedded.layout import Layout

    return Layout(state_dir=state_dir_from_env().absolute())

"""Who gives an order at this terminal."""

import getpass


def user_name() -> str:
    """The name of the person's account; "" where the account has none, as in a container without a passwd entry."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""

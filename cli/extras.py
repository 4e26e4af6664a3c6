"""Optional parts of Ratchet, as its own metadata names them: a command says which one it needs and lacks."""

import re
from collections.abc import Iterator
from importlib import metadata

from ratchet.core.errors import SettingsError

_NAME = re.compile(r"^[\w.-]+")
_EXTRA = re.compile(r"""extra == ['"](?P<extra>[\w-]+)['"]""")
_OWN_PACKAGES = frozenset({"ratchet", "cli", "components", "pipelines", "sensors", "embedded", "demo", "wire"})
_OWN = re.compile(r"^ratchet\[(?P<extras>[\w,-]+)\]")


def check_installed(extra: str, *, who: str) -> None:
    """SettingsError when a distribution of this extra is not installed. who: the command, as it is typed."""
    if missing := _missing_of(extra):
        raise SettingsError(
            f"`{who}` needs the extra `{extra}` of Ratchet; not installed: {', '.join(missing)}. {install_step(extra)}"
        )


def is_installed(extra: str) -> bool:
    """Whether all distributions of this extra are installed."""
    return not _missing_of(extra)


def is_own_module(name: str | None) -> bool:
    """Whether a missing module is one of Ratchet's: a fault of the program, which no extra brings."""
    return name is None or name.partition(".")[0] in _OWN_PACKAGES


def missing_module_text(error: ModuleNotFoundError) -> str:
    return f"The Python module {error.name} is not installed, which this command needs. {install_step('embedded')}"


def install_step(extra: str) -> str:
    return f"Install it: pip install 'ratchet[{extra}]' (in a checkout: make setup)."


def _missing_of(extra: str) -> list[str]:
    return sorted(name for name in set(_distributions_of(extra)) if not _is_installed(name))


def _distributions_of(extra: str) -> Iterator[str]:
    for line in metadata.requires("ratchet") or ():
        named = _EXTRA.search(line)
        if named is None or named["extra"] != extra:
            continue
        # An extra that takes another one in names Ratchet itself: ratchet[train].
        own = _OWN.match(line)
        if own:
            for other in own["extras"].split(","):
                yield from _distributions_of(other)
        elif name := _NAME.match(line):
            yield name[0]


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True

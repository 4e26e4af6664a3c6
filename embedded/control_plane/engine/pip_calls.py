"""What a task's command installs with pip before it runs. Pure.

kfp writes `python3 -m pip install --quiet --no-warn-script-location 'a==1' 'b' && "$0" "$@"` for `packages_to_install`,
and one more call for itself unless `install_kfp_package=False`. Other commands may call pip as they like.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

from embedded.control_plane.engine.values import digest_of

_KFP_CALL = "python3 -m pip install --quiet --no-warn-script-location "
_ANY_CALL = re.compile(r"""\bpip3?["',\s]+install\b""")
_FLAGS = frozenset(("--no-deps", "--pre"))
_OPTIONS = frozenset(("--index-url", "--extra-index-url", "--trusted-host"))
_OPERATORS = frozenset("&;|<>()")
_NESTED_VENV = re.compile(r'^python3 -m venv "\$tmp/venv"[^\n]*\n\. "\$tmp/venv/bin/activate"\n', re.MULTILINE)
"""What kfp.dsl.component_factory writes into commands of components with `use_venv=True`."""


@dataclass(frozen=True)
class PipCall:
    options: tuple[str, ...]
    requirements: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*self.options, *self.requirements)


@dataclass(frozen=True)
class PipNeeds:
    """What must be there before the command runs."""

    calls: tuple[PipCall, ...] = ()
    """Known beforehand: one environment serves every task that needs the same."""
    is_open: bool = False
    """It also calls pip in ways that we cannot foresee: it gets an environment for itself alone."""

    @property
    def is_nothing(self) -> bool:
        return not self.calls and not self.is_open

    @property
    def names(self) -> str:
        return ", ".join(sorted({text for call in self.calls for text in call.requirements}))


def pip_needs_of(words: Iterable[str], *, is_installed: Callable[[str], bool] | None = None) -> PipNeeds:
    """What a command installs, but for what the environment of this service has already."""
    is_installed = is_installed or _is_installed
    calls: list[PipCall] = []
    is_open = False
    for word in words:
        other, *tails = word.split(_KFP_CALL)
        for tail in tails:
            line = tail.partition("\n")[0]
            call = _call_of(_words_of(line))
            if call is None:
                is_open = True
            elif not all(is_installed(text) for text in call.requirements):
                calls.append(call)
        is_open = is_open or _ANY_CALL.search(other + " ".join(tails)) is not None
    return PipNeeds(tuple(calls), is_open)


def without_nested_venv(words: Iterable[str]) -> tuple[str, ...]:
    """The command without the virtual environment of `use_venv=True`: what it installs gets one of its own anyway."""
    return tuple(_NESTED_VENV.sub("", word) for word in words)


def has_nested_venv(words: Iterable[str]) -> bool:
    return any(_NESTED_VENV.search(word) for word in words)


def environment_key(calls: Sequence[PipCall], *, python: str) -> str:
    """Names an environment: the same requirements, options and Python make the same one, in whatever order."""
    return digest_of([python, sorted([*sorted(call.requirements), *call.options] for call in calls)])[:24]


def _words_of(text: str) -> list[str]:
    """Words up to the end of the shell command; none when its quotes are odd."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    # shlex ends a word at "#", which the URL of a requirement may contain.
    lexer.commenters = ""
    words: list[str] = []
    try:
        for token in lexer:
            if set(token) <= _OPERATORS:
                break
            words.append(token)
    except ValueError:
        return []
    return words


def _call_of(tokens: Sequence[str]) -> PipCall | None:
    """None when a word is neither a requirement nor an option that kfp writes."""
    options: list[str] = []
    requirements: list[str] = []
    rest = iter(tokens)
    for token in rest:
        if token in _FLAGS:
            options.append(token)
        elif token in _OPTIONS:
            options += [token, next(rest, "")]
        elif _is_requirement(token):
            requirements.append(token)
        else:
            return None
    return PipCall(tuple(options), tuple(requirements)) if requirements else None


def _is_requirement(text: str) -> bool:
    try:
        Requirement(text)
    except InvalidRequirement:
        return False
    return True


def _is_installed(text: str) -> bool:
    requirement = Requirement(text)
    if requirement.marker and not requirement.marker.evaluate():
        return True
    # No version tells whether an extra's packages are there, or what a URL holds today.
    if requirement.url or requirement.extras:
        return False
    try:
        # What is installed may be a pre-release, which `contains` refuses unless told otherwise.
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False

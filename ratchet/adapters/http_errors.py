"""What an HTTP status means to us: one table of error classes, each with the next step. Pure."""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable

_SAID_CHARS_MAX = 300
_LOGIN = re.compile(r"(?<=//)[^/@\s]*@")


class Peer(NamedTuple):
    """A server as users know it, for what errors say."""

    name: str
    """Begins a sentence: `The guard`, `KFP`."""
    next_step: str
    """When it is away: a sentence."""
    endpoint: str
    """The setting that says where it is."""
    identity: str = "the credentials"
    """What we showed it: the setting of a token, a kubeconfig's user."""
    not_found: str = "Check the name."
    """When it does not know what was asked for: a sentence."""


_CORRECT = "Correct the request: it fails again as it is."
_REFUSED = "Correct {peer.identity}; `ratchet doctor` checks the settings."
_ELSEWHERE = "Set {peer.endpoint} to the address of the server itself."
_LATER = "{peer.next_step}"
_FIRST = "Another process made a change in between: look at its result, then try again."
_TABLE: Mapping[int, tuple[type[RatchetError], str]] = {
    **dict.fromkeys((400, 405, 406, 411, 413, 414, 415, 422), (DataRejected, _CORRECT)),
    **dict.fromkeys((401, 403), (SettingsError, _REFUSED)),
    404: (NotFound, "{peer.not_found}"),
    **dict.fromkeys((409, 410, 412), (Conflict, _FIRST)),
    # We follow no redirect: it would carry the token to a server that the settings do not name. Most lead to a login.
    **dict.fromkeys((301, 302, 303, 307, 308), (SettingsError, _ELSEWHERE)),
}
"""Every other status, 5xx and 429 among them, is Unavailable: the request may succeed later."""


def error_of_status(status: int, said: str, *, where: str, peer: Peer) -> RatchetError:
    """`where`: what was asked of whom, the beginning of the text. `said`: the server's own words."""
    kind, next_step = _TABLE.get(status, (Unavailable, _LATER))
    told = said.strip().rstrip(".")
    return kind(f"{where} answered {status}{f': {told}' if told else ''}. {next_step.format(peer=peer)}")


def said_in(body: bytes, *, chars_max: int = _SAID_CHARS_MAX) -> str:
    """The message in an error's body: that of a JSON object by the names servers use, else the text."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        text = str(next((found[key] for key in ("message", "detail", "error") if found.get(key)), text))
    return " ".join(text.split())[:chars_max]


def shown_url(url: str) -> str:
    """Without query and login, which may hold a secret."""
    return _LOGIN.sub("", url.partition("?")[0])

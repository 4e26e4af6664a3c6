"""What the operating system refuses, in words: for what no command foresaw."""

import errno

from ratchet.settings import STATE_DIR_VARIABLE
from wire.printable import printable

_ANOTHER = f"or name another folder (the state folder is named by {STATE_DIR_VARIABLE})"
_IN_THE_WAY = f"Move away what is there, {_ANOTHER}."
_NOT_ALLOWED = f"Give this user the right to it, {_ANOTHER}."
_NO_SPACE = "Free some space, and repeat the command: `ratchet doctor` shows the disk."
_STEPS = {
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: f"Mount it for writing, {_ANOTHER}.",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
    errno.ELOOP: "Remove the link that points to itself.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "Create it, or correct the name.",
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EIO: "It cannot be read or written there; name another file, or look at the disk.",
    errno.EMFILE: "Raise the limit of open files: `ulimit -n 4096`.",
    errno.ENFILE: "End programs that hold files open, and repeat the command.",
    errno.ENOMEM: "End other programs, and repeat the command.",
}


def is_of_the_machine(error: OSError) -> bool:
    """Whether the machine refused something that can be named; anything else is a fault of the program."""
    return error.errno in _STEPS


def words_of(error: OSError) -> str:
    """What, where and the next step."""
    paths = [printable(str(path)) for path in (error.filename, error.filename2) if isinstance(path, str | bytes)]
    where = f"{' and '.join(paths)}: " if paths else ""
    return f"{where}{error.strerror}. {_STEPS[error.errno or 0]}"

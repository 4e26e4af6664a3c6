"""One remote git repository, seen from a private, empty clone: read a file at a tag, add a commit with a tag.

The clone holds no working tree and the newest trees only. Nobody's global configuration, hooks or credentials helpers
take part; git never asks anything. Credentials of an https remote go into the URL, those of ssh into the agent.
"""

import io
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ratchet.adapters.scratch import ScratchFolder
from ratchet.core.errors import Conflict, NotFound, RatchetError, SettingsError, Unavailable
from ratchet.settings import child_env

BRANCH = "main"
_AUTHOR = "Ratchet <ratchet@localhost>"
_TIMEOUT_S = 120.0
_NUM_PUSHES = 8
"""Each push of another writer costs one. The waits between them are 13 s in all."""
_CONFIG = """[core]
\trepositoryformatversion = 0
\tbare = true
\thooksPath = /dev/null
[gc]
\tauto = 0
[remote "origin"]
\turl = "{url}"
"""


class GitRepo:
    """A remote repository by URL or path. One caller at a time."""

    def __init__(self, url: str, *, variable: str, author: str = _AUTHOR) -> None:
        """`variable` names the setting that holds the URL, for errors."""
        self._url = str(Path(url).resolve()) if Path(url).is_dir() else url
        self._variable = variable
        self._author = author
        self._folder: ScratchFolder | None = None

    def list_tags(self, prefix: str) -> Mapping[str, str]:
        """Tags that begin with a prefix, to commits."""
        lines = self._git("ls-remote", "--tags", "--refs", "origin", f"refs/tags/{prefix}*").decode().splitlines()
        return {name.removeprefix("refs/tags/"): commit for commit, name in (line.split("\t") for line in lines)}

    def fetch_head(self) -> str:
        """The commit that the branch is at; "" while there is none. Costs the same with any number of tags."""
        found = self._git("ls-remote", "--heads", "origin", f"refs/heads/{BRANCH}").decode()
        return found.split("\t")[0]

    def fetch_file(self, path: str, *, tag: str) -> bytes:
        """A file as it was at a tag."""
        if tag not in self.list_tags(tag):
            raise NotFound(f"{self._shown} has no tag {tag}.")
        self._git("fetch", "--quiet", "--depth=1", "--no-tags", "origin", f"+refs/tags/{tag}:refs/tags/{tag}")
        return self._git("cat-file", "blob", f"refs/tags/{tag}:{path}")

    def fetch_file_at_each(self, path: str, *, tags: Sequence[str]) -> Mapping[str, bytes]:
        """A file as it was at each of these tags that has it, with two processes however many they are."""
        if not tags:
            return {}
        wanted = sorted({f"+refs/tags/{prefix}*:refs/tags/{prefix}*" for prefix in map(_prefix_of, tags)})
        self._git("fetch", "--quiet", "--depth=1", "--no-tags", "origin", *wanted)
        asked = "".join(f"refs/tags/{tag}:{path}\n" for tag in tags).encode()
        output = io.BytesIO(self._git("cat-file", "--batch", stdin=asked))
        found = {}
        for tag in tags:
            *_, size = output.readline().split()
            if size.isdigit():  # else the word "missing"
                found[tag] = output.read(int(size))
                output.read(1)
        return found

    def commit(self, files: Mapping[str, bytes], *, tag: str, message: str) -> None:
        """Add a commit with these files to the branch, and the tag, both or none. Conflict when the tag is there.

        When only the branch has moved (another task's version), the commit is made anew on top of it.
        """
        for attempt in range(_NUM_PUSHES):
            base = self._fetch_branch()
            commit = self._import(files, base=base, message=message)
            pushed = self._push(commit, tag=tag)
            if pushed is None:
                return
            there = self.list_tags(tag).get(tag)
            # Our own push was taken, and its answer lost.
            if there == commit:
                return
            if there is not None:
                raise Conflict(
                    f"{self._shown} has a tag {tag} already: another run wrote it first. Start this run again."
                )
            time.sleep(0.05 * 2**attempt)
        raise Unavailable(f"{self._shown} took no commit in {_NUM_PUSHES} attempts: {pushed}")

    def amend(
        self,
        files_of: Mapping[str, Mapping[str, bytes]],
        *,
        tags: Mapping[str, str],
        base: str,
        head: Mapping[str, bytes],
        message: str,
    ) -> None:
        """Move tags to new commits that follow their old ones with these files, and add a commit with `head` to the
        branch: all or nothing. Conflict when one of them is not where it was: the commits of `tags`, and `base`."""
        before = {tag: tags[tag] for tag in files_of}
        if self._fetch_branch() != base:
            raise Conflict(f"{self._shown} got a commit meanwhile; nothing of this was taken. Run the command again.")
        wanted = [f"+refs/tags/{tag}:refs/ratchet/amended/{number}" for number, tag in enumerate(before)]
        self._git("fetch", "--quiet", "--depth=1", "--no-tags", "origin", *wanted)
        stream = [
            *(
                self._commit_text(f"refs/ratchet/amended/{number}", files_of[tag], base=commit, message=message)
                for number, (tag, commit) in enumerate(before.items())
            ),
            self._commit_text("refs/ratchet/next", head, base=base, message=message),
        ]
        self._git("fast-import", "--quiet", "--force", "--date-format=now", stdin=b"".join(stream))
        leases = [f"--force-with-lease=refs/tags/{tag}:{commit}" for tag, commit in before.items()]
        leases.append(f"--force-with-lease=refs/heads/{BRANCH}:{base}")
        refs = [f"refs/ratchet/amended/{number}:refs/tags/{tag}" for number, tag in enumerate(before)]
        refs.append(f"refs/ratchet/next:refs/heads/{BRANCH}")
        done = self._run("push", "--quiet", "--atomic", *leases, "origin", *refs)
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            if "rejected" in said or "stale" in said or "lock" in said:
                raise Conflict(f"{self._shown} changed meanwhile; nothing of this was taken. Run the command again.")
            raise self._error(said)

    def _fetch_branch(self) -> str:
        """The commit that the branch is at, fetched; "" while there is none."""
        base = self.fetch_head()
        if not base:
            return ""
        self._git("fetch", "--quiet", "--depth=1", "--no-tags", "origin", f"+refs/heads/{BRANCH}:refs/ratchet/base")
        return base

    def _import(self, files: Mapping[str, bytes], *, base: str, message: str) -> str:
        """Make the commit with one process, however many files it has."""
        stream = self._commit_text("refs/ratchet/next", files, base=base, message=message)
        self._git("fast-import", "--quiet", "--force", "--date-format=now", stdin=stream)
        return self._git("rev-parse", "refs/ratchet/next").decode().strip()

    def _commit_text(self, ref: str, files: Mapping[str, bytes], *, base: str, message: str) -> bytes:
        """A commit as `git fast-import` reads it."""
        text = message.encode()
        lines = [
            f"commit {ref}\ncommitter {self._author} now\n".encode(),
            b"data %d\n%s\n" % (len(text), text),
            f"from {base}\n".encode() if base else b"",
            *(
                b'M 100644 inline "%s"\ndata %d\n%s\n' % (path.encode(), len(data), data)
                for path, data in files.items()
            ),
            b"\n",
        ]
        return b"".join(lines)

    def _push(self, commit: str, *, tag: str) -> str | None:
        """None when both refs were taken, else what git said."""
        refs = (f"{commit}:refs/heads/{BRANCH}", f"{commit}:refs/tags/{tag}")
        done = self._run("push", "--quiet", "--atomic", "origin", *refs)
        if done.returncode == 0:
            return None
        said = done.stderr.decode(errors="replace")
        # What git says of a race: a ref that has moved, or one that another push has locked.
        if "rejected" not in said and "lock" not in said:
            raise self._error(said)
        return self._redacted(said)

    def _git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        done = self._run(*arguments, stdin=stdin)
        if done.returncode:
            raise self._error(done.stderr.decode(errors="replace"))
        return done.stdout

    def _run(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        command = ["git", f"--git-dir={self._clone()}", *arguments]
        try:
            return subprocess.run(command, input=stdin, capture_output=True, env=_git_env(), timeout=_TIMEOUT_S)
        except FileNotFoundError:
            raise SettingsError("git is not on the PATH. Install git 2.32 or newer.") from None
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"{self._shown}: git {arguments[0]} took over {_TIMEOUT_S:g} s. Check that it is reachable."
            ) from None

    def _clone(self) -> Path:
        """Made by hand: `git init` would copy templates, and a URL with a token in it must not show in `ps`."""
        if self._folder is None:
            self._folder = ScratchFolder("ratchet-git-")
            root = self._folder.path
            for name in ("objects", "refs"):
                (root / name).mkdir()
            (root / "HEAD").write_text(f"ref: refs/heads/{BRANCH}\n")
            url = self._url.replace("\\", "\\\\").replace('"', '\\"')
            (root / "config").write_text(_CONFIG.format(url=url))
        return self._folder.path

    def _error(self, said: str) -> RatchetError:
        said = self._redacted(" ".join(said.split()))
        for pattern, make in _MEANINGS:
            if re.search(pattern, said, re.IGNORECASE):
                return make(f"{self._variable} = {self._shown}: {said} `ratchet doctor` shows the settings in use.")
        return Unavailable(f"{self._shown}: {said}")

    @property
    def _shown(self) -> str:
        return self._redacted(self._url)

    def _redacted(self, text: str) -> str:
        """Without user and password of any URL."""
        return re.sub(r"(\w+://)[^/@\s]+@", r"\1", text)


def _prefix_of(tag: str) -> str:
    """What tags that differ in their number begin with: `digits/v`."""
    return tag.rstrip("0123456789")


_MEANINGS: tuple[tuple[str, Callable[[str], RatchetError]], ...] = (
    (r"not appear to be a git repository|repository not found|does not exist|not a git repository", NotFound),
    (r"authentication failed|could not read|permission denied|dubious ownership|access denied", SettingsError),
)


def _git_env() -> dict[str, str]:
    """The environment without whatever a git hook, or the user's own git, would have us do."""
    inherited = {
        name: value for name, value in child_env({}).items() if not name.startswith("GIT_") or name == "GIT_SSH_COMMAND"
    }
    return {
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
        **inherited,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        # Its messages are read here, in English.
        "LC_ALL": "C",
    }

"""What the command line's exit codes mean: one table for `ratchet --help`, the user guide and scripts."""

from ratchet.core import errors

NOT_PROMOTED, NOT_SERVING, INTERRUPTED = 9, 10, 130
EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "failed: the run that was waited for, a check, or an unexpected error",
    2: "wrong usage: an unknown option, or an argument that is missing",
    errors.DataRejected.exit_code: "data rejected: a file, a request or an argument holds something wrong",
    errors.PolicyError.exit_code: "a task, policy or schedule file is wrong or missing, or there is no such task",
    errors.SettingsError.exit_code: "a setting (endpoint, credential) is wrong or missing",
    errors.Conflict.exit_code: "something else came first, such as a run that is in flight",
    errors.NotFound.exit_code: "the thing named is not there: a run, a version, a schedule, a pipeline",
    errors.Unavailable.exit_code: "a server did not answer, or not in time",
    NOT_PROMOTED: "the run that was waited for ended well and promoted no model",
    NOT_SERVING: "`up`, `status`: every server is ready, and the champion of a task does not serve; the stack stays up",
    errors.NothingNew.exit_code: "nothing was done: the same is there already, such as labels that were pushed before",
    INTERRUPTED: "interrupted by Ctrl-C",
}


def epilog() -> str:
    """The table in a paragraph for each code, as `--help` shows it."""
    return "Exit codes:\n\n" + "\n\n".join(f"{code}: {meaning}" for code, meaning in sorted(EXIT_CODES.items()))

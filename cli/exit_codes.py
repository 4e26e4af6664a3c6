"""What the command line's exit codes mean: one table for `ratchet --help`, the user guide and scripts."""

from ratchet.core import errors

NOT_PROMOTED, NOT_SERVING, NOT_REPRODUCED, INTERRUPTED, OUTPUT_CLOSED = 9, 10, 12, 130, 141
EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "failed: the awaited run, a check, or an unexpected error",
    2: "wrong usage: an unknown option or a missing argument",
    errors.DataRejected.exit_code: "data rejected: a file, a request or an argument is invalid",
    errors.PolicyError.exit_code: "a task, policy or schedule file is invalid or missing, or the task does not exist",
    errors.SettingsError.exit_code: "a setting (endpoint, credential) is wrong or missing",
    errors.Conflict.exit_code: "conflict, such as a run in flight",
    errors.NotFound.exit_code: "not found: a run, a version, a schedule, a pipeline",
    errors.Unavailable.exit_code: "a server did not answer in time",
    NOT_PROMOTED: "the awaited run succeeded and promoted no model",
    NOT_SERVING: "`up`, `status`: every server is ready, but a champion does not serve; the stack stays up",
    errors.NothingNew.exit_code: "nothing to do: the same exists already, such as labels that were pushed before",
    NOT_REPRODUCED: "`models reproduce`: the same training gave other weights",
    INTERRUPTED: "interrupted by Ctrl-C",
    OUTPUT_CLOSED: "the reader of the output has gone, such as `| head`",
}


def epilog() -> str:
    """The table in a paragraph for each code, as `--help` shows it."""
    return "Exit codes:\n\n" + "\n\n".join(f"{code}: {meaning}" for code, meaning in sorted(EXIT_CODES.items()))

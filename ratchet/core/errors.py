"""Every error that Ratchet raises on purpose. Each message says what, where and the next step.

RatchetError
├── DataRejected     what was given is wrong; the same input fails again, so nobody retries
├── PolicyError      a reviewed number or a task file is wrong or missing
├── SettingsError    an endpoint or a credential is wrong or missing
├── Conflict         somebody else was first: a compare-and-swap was lost
├── NotFound         the thing named is not there
├── NothingNew       what was given is there already, so nothing was done
└── Unavailable      a server did not answer in time; adapters retry, bounded, before they raise it
"""


class RatchetError(Exception):
    """Base of all expected errors. `exit_code` is what the command line exits with."""

    exit_code = 1


class DataRejected(RatchetError):
    exit_code = 3


class PolicyError(RatchetError):
    exit_code = 4


class SettingsError(RatchetError):
    exit_code = 5


class Conflict(RatchetError):
    exit_code = 6


class NotFound(RatchetError):
    exit_code = 7


class Unavailable(RatchetError):
    exit_code = 8


class NothingNew(RatchetError):
    exit_code = 11


FINAL = (DataRejected, PolicyError, SettingsError)
"""The same input fails again until a person changes something: a step that raised one of these is not retried."""

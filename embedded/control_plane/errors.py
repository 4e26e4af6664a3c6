"""Every error that the control plane raises on purpose. Each message says what, where and the next step.

ControlPlaneError
├── DataRejected     what was given is wrong: a body, a pipeline, a value; the same input fails again
├── SettingsError    what this server was told of its machine is wrong or missing: a manifest, a container engine
├── Conflict         another caller came first: the name or the id is taken
├── NotFound         the thing named is not there
└── Unavailable      another server did not answer in time
"""


class ControlPlaneError(Exception):
    """Base of all expected errors: the APIs answer with its message, a task or a run fails with it."""


class DataRejected(ControlPlaneError):
    pass


class SettingsError(ControlPlaneError):
    pass


class Conflict(ControlPlaneError):
    pass


class NotFound(ControlPlaneError):
    pass


class Unavailable(ControlPlaneError):
    pass

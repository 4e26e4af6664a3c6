"""What every task of our pipelines has in common."""

from kfp import dsl, kubernetes

from ratchet.settings import variable_names

SETTINGS_SECRET = "ratchet"  # noqa: S105 - the name of a Secret, not its value


def with_settings(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a task the settings, from the Secret `ratchet`, and never serve it from KFP's cache.

    Every step asks the world (which labels are pending, who is champion), which is in no cache key.
    """
    kubernetes.use_secret_as_env(
        task, secret_name=SETTINGS_SECRET, secret_key_to_env={name: name for name in variable_names()}
    )
    return task.set_caching_options(False)

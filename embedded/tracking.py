"""The tracking server: MLflow on SQLite, its artifacts in the object store.

The app is run by uvicorn directly. `mlflow server` adds a wrapper process of 250 MB and, with its default job
execution, eight more. The `_MLFLOW_SERVER_*` names are private to MLflow: its version is pinned, and a test reads back
what they set.
"""

import sys

from embedded.credentials import Credentials
from embedded.layout import Layout
from embedded.object_store import MLFLOW_BUCKET
from embedded.ports import StackPorts
from embedded.services import ReadyCheck, Service
from embedded.tracking_server import HEALTH_PATH

NAME = "mlflow"


def tracking_service(layout: Layout, *, ports: StackPorts, credentials: Credentials, s3_region: str) -> Service:
    """MLflow on loopback, for callers with the token. The tables of its database are made before it listens (4 s)."""
    return Service(
        name=NAME,
        command=(
            *(sys.executable, "-m", "embedded.tracking_server"),
            *(str(layout.mlflow / "mlflow.db"), str(ports.mlflow), str(layout.mlflow_token)),
        ),
        env={
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{layout.mlflow / 'mlflow.db'}",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"s3://{MLFLOW_BUCKET}",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{ports.s3}",
            "AWS_ACCESS_KEY_ID": credentials.mlflow_s3.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.mlflow_s3.secret_key,
            "AWS_DEFAULT_REGION": s3_region,
            # Neither a config file of the user nor a cloud's metadata server has a say.
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        cwd=layout.mlflow,
        port=ports.mlflow,
        log=layout.log_of(NAME),
        ready=ReadyCheck(port=ports.mlflow, path=HEALTH_PATH, within_s=90),
    )

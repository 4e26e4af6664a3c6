"""`python -m embedded.control_plane`: serve the KFP and the Kubernetes API on 127.0.0.1 until SIGTERM."""

import argparse
import logging
from pathlib import Path

from embedded.control_plane.app import create_app
from embedded.control_plane.config import ControlPlaneConfig, Retention
from embedded.control_plane.errors import SettingsError
from embedded.control_plane.host.container_engine import find_container_engine
from wire.cron import NotCron, check_zone
from wire.request_limits import serve_limited

_GRACE_S = 3
"""For answers under way. A watch of the Kubernetes API never ends by itself, so it is cut."""


def parse_arguments(argv: list[str] | None = None) -> ControlPlaneConfig:
    parser = argparse.ArgumentParser(
        prog="python -m embedded.control_plane",
        description="Kubeflow Pipelines v2beta1 and KServe InferenceServices on one machine, on 127.0.0.1 only.",
        epilog="example: python -m embedded.control_plane --port 8888 --data-dir .ratchet/control_plane "
        "--secrets-dir .ratchet/secrets --xds-dir .ratchet/gateway/xds --gateway-url http://127.0.0.1:8080 "
        "--runtimes-dir deploy/base --project-dir . --token-file .ratchet/control_plane/token",
    )
    parser.add_argument("--port", type=int, required=True, help="port of both APIs")
    parser.add_argument("--data-dir", type=Path, required=True, help="database, artifacts and logs")
    parser.add_argument("--secrets-dir", type=Path, required=True, help="<secret>/<key> files")
    parser.add_argument("--xds-dir", type=Path, required=True, help="folder from which the gateway reads its routes")
    parser.add_argument("--gateway-url", required=True, help="where user requests enter")
    parser.add_argument("--runtimes-dir", type=Path, required=True, help="folder of ServingRuntime manifests")
    parser.add_argument("--project-dir", type=Path, required=True, help="on PYTHONPATH of each task")
    parser.add_argument("--token-file", type=Path, required=True, help="bearer token of the Kubernetes API")
    parser.add_argument(
        "--leave-model-servers", action="store_true", help="they outlive this process; the next one adopts them"
    )
    _add_kfp_options(parser)
    given = parser.parse_args(argv)
    if given.kfp_token_file and not given.kfp_token_file.read_text().strip():
        parser.error(f"{given.kfp_token_file} holds no token. Write one into it, or leave --kfp-token-file out.")
    try:
        container_engine = find_container_engine() if given.task_runtime == "oci" else None
        cron_timezone = check_zone(given.cron_timezone).key
    except (SettingsError, NotCron) as error:
        parser.error(str(error))
    return ControlPlaneConfig(
        port=given.port,
        data_dir=given.data_dir.absolute(),
        secrets_dir=given.secrets_dir.absolute(),
        xds_dir=given.xds_dir.absolute(),
        gateway_url=given.gateway_url,
        runtimes_dir=given.runtimes_dir.absolute(),
        project_dir=given.project_dir.absolute(),
        token=given.token_file.read_text().strip(),
        leaves_model_servers=given.leave_model_servers,
        kfp_token=given.kfp_token_file.read_text().strip() if given.kfp_token_file else "",
        cron_timezone=cron_timezone,
        retention=Retention(
            keep_days=given.keep_days,
            keep_runs=given.keep_runs,
            disk_quota_gib=given.disk_quota_gib,
            keep_environment_days=given.keep_environment_days,
            keep_volume_days=given.keep_volume_days,
        ),
        log_limit_mib=given.log_limit_mib,
        is_lenient=given.lenient,
        container_engine=container_engine,
        warm_modules=tuple(filter(None, given.warm_modules.split(","))),
        warm_variables=dict(given.warm_variable),
    )


def _add_kfp_options(parser: argparse.ArgumentParser) -> None:
    kept = Retention()
    parser.add_argument(
        "--kfp-token-file", type=Path, help="bearer token of the KFP API; without it, any local user may start runs"
    )
    parser.add_argument(
        "--cron-timezone",
        default="UTC",
        help="of cron schedules without a TZ= of their own, e.g. Europe/Berlin (%(default)s)",
    )
    parser.add_argument(
        "--task-runtime",
        choices=("process", "oci"),
        default="process",
        help="process: a task's command runs on this machine, without its image; oci: podman, nerdctl or docker runs "
        "the image (%(default)s)",
    )
    parser.add_argument(
        "--warm-modules",
        default="",
        metavar="A,B",
        help="installed modules that one process imports ahead and forks Python steps from (none)",
    )
    parser.add_argument(
        "--warm-variable",
        type=_assignment,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set while they are imported, and in no step; once per variable",
    )
    parser.add_argument(
        "--lenient", action="store_true", help="convert text to numbers, booleans, lists where a cluster fails the task"
    )
    parser.add_argument(
        "--keep-days",
        type=float,
        default=kept.keep_days,
        help="keep files of ended runs; 0 = permanently (%(default)s)",
    )
    parser.add_argument(
        "--keep-runs",
        type=int,
        default=kept.keep_runs,
        help="number of ended runs whose files are kept; 0 = all (%(default)s)",
    )
    parser.add_argument(
        "--disk-quota-gib", type=float, default=kept.disk_quota_gib, help="logs and artifacts; 0 = none (%(default)s)"
    )
    parser.add_argument(
        "--keep-environment-days",
        type=float,
        default=kept.keep_environment_days,
        help="keep an environment since its last use; 0 = permanently (%(default)s)",
    )
    parser.add_argument(
        "--keep-volume-days",
        type=float,
        default=kept.keep_volume_days,
        help="keep a volume since its last mount; 0 = permanently (%(default)s)",
    )
    parser.add_argument(
        "--log-limit-mib", type=int, default=64, help="limit of a task's log; its middle is cut out (%(default)s)"
    )


def _assignment(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def main() -> None:
    config = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request to each model server otherwise
    serve_limited(
        create_app(config),
        host="127.0.0.1",
        port=config.port,
        access_log=False,
        log_level="info",
        timeout_graceful_shutdown=_GRACE_S,
    )


if __name__ == "__main__":
    main()

"""The model server: `python -m ratchet.serving --model_name digits --model_dir DIR --http_port 8080`.

Option names have underscores because those of KServe's servers have. The defaults fit one machine; a container adds
`--host 0.0.0.0`.
"""

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ratchet.core.errors import RatchetError
from ratchet.serving.fork_server import OPTION, own_socket, serve_forks
from ratchet.settings import MODEL_DIGEST_VARIABLE, model_digest_from_env, set_process_env

if TYPE_CHECKING:
    from ratchet.serving.payload_writer import PayloadWriter
    from ratchet.serving.request_images import RequestImages

_FLUSH_WITHIN_S = 2.0
"""After the last request, for the payload log."""


def main(argv: list[str] | None = None) -> int:
    if (argv or sys.argv[1:]) == [OPTION]:
        _serve_forks()
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    from ratchet.tasks.model_files import load_model

    try:
        expected = arguments.model_digest or model_digest_from_env()
        check_signature(arguments.model_dir)
        servable = load_model(arguments.model_dir, expected_digest=expected)
    except RatchetError as error:
        logging.getLogger(__name__).error("%s", error)
        return error.exit_code
    from ratchet.serving.model import ServedModel
    from ratchet.serving.server import serve

    payloads = payload_writer_of(task=servable.spec.name, digest=servable.digest)
    budget_s = arguments.batch_budget_ms / 1000
    model = ServedModel(arguments.model_name, servable, payloads, images=request_images(), batch_budget_s=budget_s)
    model.load()
    # uvicorn finishes its requests at SIGTERM and then sends the signal once more, to whoever listened before it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        ports = {"port": arguments.http_port, "grpc_port": arguments.grpc_port}
        serve(model, host=arguments.host, digest=servable.digest, **ports)
    finally:
        if payloads is not None:
            payloads.close(within_s=_FLUSH_WITHIN_S)
    return 0


def check_signature(path: Path) -> None:
    """Before anything of the model is read or run. DataRejected when the signature refuses it, SettingsError when the
    keys to check it with are not there; a model that is not signed is told."""
    from ratchet.adapters.ec_keys import EcTrustedKeys
    from ratchet.settings import settings_from_env
    from ratchet.tasks.signature import check_folder

    settings = settings_from_env()
    told = check_folder(path, EcTrustedKeys.of(settings), is_required=settings.unsigned_models == "refuse")
    if told:
        logging.getLogger(__name__).warning("%s", told)


def _serve_forks() -> NoReturn:
    """After importing all that a model server uses, also what it imports late."""
    own_socket()
    import safetensors.torch  # noqa: F401

    import ratchet.adapters.ec_keys
    import ratchet.adapters.s3
    import ratchet.serving.grpc_server
    import ratchet.serving.model
    import ratchet.serving.payload_writer
    import ratchet.serving.server
    import ratchet.tasks.model_files
    import ratchet.tasks.signature  # noqa: F401

    serve_forks(main, set_process_env)


def payload_writer_of(*, task: str, digest: str) -> "PayloadWriter | None":
    """None when the payload log is off. Whatever is wrong with it: a model without a log is better than no model."""
    from ratchet.core.uris import s3_uri
    from ratchet.settings import settings_from_env

    log = logging.getLogger(__name__)
    try:
        settings = settings_from_env()
        if not settings.s3_endpoint or not settings.payload_sample_ratio:
            log.info("the payload log is off: no S3 endpoint, or a sample ratio of 0")
            return None
        from ratchet.adapters.s3 import S3ObjectStore
        from ratchet.serving.payload_writer import PayloadWriter

        objects = S3ObjectStore.of(settings)
    except RatchetError as error:
        log.warning("the payload log is off: %s", error)
        return None
    return PayloadWriter(
        lambda key, data: objects.put(s3_uri(settings.ratchet_bucket, key), data),
        task=task,
        model_digest=digest,
        sample_ratio=settings.payload_sample_ratio,
    )


def request_images() -> "RequestImages":
    """Of `s3://` URIs only where the settings name buckets: whoever sends a request has no right of his own to read."""
    from ratchet.serving.request_images import RequestImages, fetch_from
    from ratchet.settings import settings_from_env

    try:
        settings = settings_from_env()
        if not settings.s3_endpoint or not settings.image_buckets:
            return RequestImages()
        from ratchet.adapters.s3 import S3ObjectStore

        return RequestImages(fetch_from(S3ObjectStore.of(settings), settings.request_image_buckets))
    except RatchetError as error:
        logging.getLogger(__name__).warning("images of requests cannot be fetched by URI: %s", error)
        return RequestImages()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ratchet.serving", description="Serve one model over HTTP, and over gRPC."
    )
    parser.add_argument("--model_name", required=True, help="name in the URLs: /v1/models/NAME:predict")
    parser.add_argument("--model_dir", required=True, type=Path, help="folder that `finetune` wrote")
    parser.add_argument(
        "--model_digest",
        default="",
        help=f"digest that the folder must have (default: ${MODEL_DIGEST_VARIABLE}, else a folder's name that is one)",
    )
    parser.add_argument("--http_port", type=int, default=8080)
    parser.add_argument(
        "--grpc_port", type=int, default=0, help="port of the same protocol over gRPC (default: 0, which is off)"
    )
    parser.add_argument(
        "--batch_budget_ms",
        type=_milliseconds,
        default=20.0,
        help="longest pass that answers several waiting requests together (default: 20); 0: one pass a request",
    )
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: this machine only)")
    return parser


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


if __name__ == "__main__":
    sys.exit(main())

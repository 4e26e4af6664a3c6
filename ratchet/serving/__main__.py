"""The model server: `python -m ratchet.serving --model_name digits --model_dir DIR --http_port 8080`.

Option names have underscores because KServe's own have. The defaults fit one machine; a container adds
`--host 0.0.0.0`.
"""

import argparse
import logging
import sys
from pathlib import Path

from ratchet.core.errors import RatchetError


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    from ratchet.tasks.model_files import load_model

    try:
        servable = load_model(arguments.model_dir)
    except RatchetError as error:
        logging.getLogger(__name__).error("%s", error)
        return error.exit_code
    # After parsing: importing KServe reads sys.argv too, and would answer --help itself.
    from ratchet.serving.model import ServedModel
    from ratchet.serving.server import serve

    model = ServedModel(arguments.model_name, servable)
    model.load()
    serve(model, host=arguments.host, port=arguments.http_port, digest=servable.digest)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ratchet.serving", description="Serve one model over HTTP.")
    parser.add_argument("--model_name", required=True, help="name in the URLs: /v1/models/NAME:predict")
    parser.add_argument("--model_dir", required=True, type=Path, help="folder that `finetune` wrote")
    parser.add_argument("--http_port", type=int, default=8080)
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on (default: this machine only)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

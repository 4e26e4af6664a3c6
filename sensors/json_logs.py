"""How sensors log: one JSON object a line, for people with `jq` and for what collects a cluster's logs."""

import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

_FIELDS_OF_PYTHON = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_HIDDEN = "***"


class JsonFormatter(logging.Formatter):
    """`at`, `level`, `logger`, `message`, and the fields that were given as `extra`. No secret gets through."""

    def __init__(self, *, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = tuple(json.dumps(secret, ensure_ascii=False)[1:-1] for secret in secrets if secret)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {name: value for name, value in record.__dict__.items() if name not in _FIELDS_OF_PYTHON}
        line |= {name: value for name, value in extra.items() if value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text = json.dumps(line, default=str, ensure_ascii=False)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def log_as_json(*, secrets: Sequence[str] = ()) -> None:
    """Everything that this process logs goes to stderr in that form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(secrets=secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request; the guard makes one every 2 s
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns at each retry; our ticks say it once

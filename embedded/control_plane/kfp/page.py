"""`GET /`: the page behind the links that kfp.Client prints: `#/runs/details/<id>`, `#/experiments/…`, `#/pipelines/…`.

One document that loads nothing from elsewhere. It reads the part after `#` and asks the REST API of this server. What
comes from there becomes text nodes, never markup; the content security policy allows this script alone. Without
JavaScript it lists the newest runs, unless the API asks for a token: this page asks for none.
"""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from embedded.control_plane.kfp.store import Document, Store

_NUM_RUNS = 50
_COLUMNS = ("display_name", "state", "created_at", "run_id")
_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")
_SCRIPT = (_FOLDER / "page.js").read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src {_hash_of(_SCRIPT)}; style-src {_hash_of(_STYLE)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def serve_page(app: FastAPI, store: Store, *, needs_token: bool) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        runs = [] if needs_token else store.select("run", order_by="created_at desc, seq desc", limit=_NUM_RUNS)
        return HTMLResponse(render_page(runs), headers=HEADERS)


def render_page(runs: Sequence[Document]) -> str:
    """runs: for readers without JavaScript."""
    rows = "".join(f"<tr>{''.join(f'<td>{_text(run.get(name))}</td>' for name in _COLUMNS)}" for run in runs)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Runs</title><style>{_STYLE}</style>"
        '<nav><a href="#/runs">Runs</a><a href="#/experiments">Experiments</a><a href="#/pipelines">Pipelines</a>'
        '<a href="/docs">API</a></nav><main></main><noscript><h1>Newest runs</h1><p>With JavaScript this page shows '
        "tasks, logs and artifacts; without it, <code>ratchet runs show RUN</code> does.</p>"
        f"<table>{rows}</table></noscript><script>{_SCRIPT}</script></html>"
    )


def _text(value: object) -> str:
    """Escaped, and without half surrogates, which UTF-8 cannot hold."""
    return escape(str(value or "").encode(errors="backslashreplace").decode())

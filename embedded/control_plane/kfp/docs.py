"""/docs: the routes of this server as a plain page. It loads nothing: FastAPI's own page needs a CDN."""

from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_STYLE = "body{font:15px sans-serif;margin:2em;max-width:70em}td{padding:2px 12px 2px 0;vertical-align:top}"


def serve_docs(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(render_docs(app.openapi()))


def render_docs(schema: dict[str, Any]) -> str:
    """A table of every route; machines read /openapi.json."""
    rows = [
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(route.get('description') or route.get('summary', ''))}</td></tr>"
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    ]
    title = escape(schema["info"]["title"])
    return (
        f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f'<p>Machines read <a href="/openapi.json">/openapi.json</a>.</p><table>{"".join(rows)}</table>'
    )

"""What clusters and routes share: the document that Envoy reads, and the names in it."""

import hashlib
import json
from typing import Any


def fallback_of(revision: str) -> str:
    return f"{revision}.fallback"


def discovery_of(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """The version names the content, so that Envoy's answer "I am at version v" tells what it works with."""
    text = json.dumps(resources, sort_keys=True)
    return {"version_info": hashlib.sha256(text.encode()).hexdigest()[:16], "resources": resources}


def type_url_of(name: str) -> str:
    return f"type.googleapis.com/envoy.{name}"

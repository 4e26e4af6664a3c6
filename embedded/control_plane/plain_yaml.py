"""YAML without dates: what looks like one stays text, as in JSON."""

from typing import Any

import yaml

PLAIN_RESOLVERS: dict[Any, Any] = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
"""For a loader's `yaml_implicit_resolvers`."""

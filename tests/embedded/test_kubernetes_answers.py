"""Each answer of the table: what the real server says is said here, and where not, what is said instead."""

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.embedded.kubernetes_answers import Row
from tests.embedded.kubernetes_answers_apis import APIS
from tests.embedded.kubernetes_answers_fields import FIELDS, METADATA
from tests.embedded.kubernetes_answers_limits import LIMITS
from tests.embedded.kubernetes_answers_writes import PATCHES, ROUTE_WRITES, RULES
from tests.embedded.kubernetes_side import ISVCS, ROUTES, isvc, kubernetes_side, route
from tests.embedded.serving_world import PROJECT_DIR

ROWS = [*FIELDS, *METADATA, *RULES, *PATCHES, *ROUTE_WRITES, *APIS, *LIMITS]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """With InferenceService `m` and HTTPRoute `r`; the rows make and spoil `n` only."""
    with kubernetes_side(tmp_path_factory.mktemp("answers")) as api:
        api.post(ISVCS, json=isvc("m")).raise_for_status()
        api.post(ROUTES, json=route("r")).raise_for_status()
        yield api


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS])
def test_the_answer_is_the_real_servers_or_the_one_that_the_list_of_differences_names(api: TestClient, row: Row):
    content = row.body if isinstance(row.body, bytes) else json.dumps(row.body).encode() if row.body else b""
    headers = {"content-type": "application/json", **row.headers}
    answer = api.request(row.method, row.path, content=content, headers=headers, params={"dryRun": "All", **row.params})
    expected = row.ours or row.theirs
    told = answer.json()
    assert answer.status_code == expected.status, told
    if expected.status >= 400:
        assert (told["kind"], told.get("reason", "")) == ("Status", expected.reason)
        assert expected.message in told["message"]
    warnings = [value.removeprefix('299 - "').removesuffix('"') for value in answer.headers.get_list("warning")]
    assert tuple(text.replace('\\"', '"') for text in warnings) == expected.warnings


def test_each_difference_stands_in_the_documentation():
    """By its row's id, in the table of remaining differences."""
    page = (PROJECT_DIR / "docs" / "kfp-backend.md").read_text()
    for row in ROWS:
        assert row.ours is None or f"`{row.id}`" in page, row.id

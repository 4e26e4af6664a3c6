"""Published pipelines, out of the pages in which a KFP server lists them."""

from types import SimpleNamespace
from typing import Any

from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.adapters.kfp_client import KfpApi


class PagedServer:
    """A pipeline with two versions, listed in pages of the size that is asked for. `num_asked`: pages of versions."""

    def __init__(self) -> None:
        self.num_asked = 0
        self.pipelines = SimpleNamespace(
            pipeline_service_list_pipelines=self._list_pipelines,
            pipeline_service_list_pipeline_versions=self._list_versions,
        )

    def get_user_namespace(self) -> str:
        return ""

    def _list_pipelines(self, **asked: Any) -> Any:
        return SimpleNamespace(pipelines=[SimpleNamespace(pipeline_id="p")], next_page_token="")

    def _list_versions(self, *, page_token: str, page_size: int, **asked: Any) -> Any:
        self.num_asked += 1
        names, start = ("v2", "v1"), int(page_token or 0)
        end = min(start + page_size, len(names))
        found = [
            SimpleNamespace(display_name=name, pipeline_version_id=name, pipeline_id="p", created_at=None)
            for name in names[start:end]
        ]
        return SimpleNamespace(pipeline_versions=found, next_page_token=str(end) if end < len(names) else "")


def test_the_newest_version_costs_one_page() -> None:
    server = PagedServer()
    catalog = KfpPipelineCatalog(KfpApi(server, endpoint="http://127.0.0.1:1"))
    assert catalog.fetch_newest("retrain").name == "v2"
    assert server.num_asked == 1


def test_all_versions_are_read_over_all_pages() -> None:
    server = PagedServer()
    catalog = KfpPipelineCatalog(KfpApi(server, endpoint="http://127.0.0.1:1"))
    assert [version.name for version in catalog.list_versions("retrain")] == ["v2", "v1"]

"""Packages that kfp.Client sends as they are: kubeflow/pipelines, backend/src/apiserver/server/util.go."""

import contextlib
import gzip
import io
import tarfile
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.engine.loading import parse_upload
from embedded.control_plane.engine.package import unpacked
from embedded.control_plane.errors import DataRejected

MAX = 1000


def zipped(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("_", "."), content)
    return packed.getvalue()


def tarred(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_pipeline_yaml_or_else_the_first_file_is_the_pipeline(pack: Any) -> None:
    assert unpacked(pack(a_yaml=b"a", pipeline_yaml=b"p"), bytes_max=10**6) == b"p"
    assert unpacked(pack(a_yaml=b"a", b_txt=b"b"), bytes_max=10**6) == b"a"
    assert parse_upload(pack(pipeline_yaml=b"a: 1")) == {"a": 1}


def test_what_is_no_archive_stays_as_it_is() -> None:
    assert unpacked(b"a: 1", bytes_max=MAX) == b"a: 1"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        pytest.param(zipped(a_txt=b"a"), "holds no pipeline.yaml", id="no-yaml-in-a-zip"),
        pytest.param(tarred(a_txt=b"a"), "more than|holds no pipeline.yaml", id="no-yaml-in-a-tarball"),
        pytest.param(zipped(), "holds no pipeline.yaml", id="nothing"),
        pytest.param(b"PK\x03\x04rest", "not a zip file", id="broken-zip"),
        pytest.param(b"\x1f\x8brest", "not a tar.gz file", id="broken-gzip"),
        pytest.param(gzip.compress(b"x" * 100), "not a tar.gz file", id="no-tar-in-it"),
        pytest.param(zipped(pipeline_yaml=b"x" * 10**6), "more than 1000 bytes", id="small-zip-of-much"),
        pytest.param(gzip.compress(b"x" * 10**6), "more than 1000 bytes", id="small-tarball-of-much"),
    ],
)
def test_archive_without_a_pipeline_is_refused(raw: Any, told: Any) -> None:
    with pytest.raises(DataRejected, match=told):
        unpacked(raw, bytes_max=MAX)


@given(st.sampled_from([zipped(a_yaml=b"a"), tarred(a_yaml=b"a")]), st.integers(0, 200), st.binary(max_size=5))
def test_no_damaged_archive_does_more_than_be_refused(raw: Any, at: Any, damage: Any) -> None:
    with contextlib.suppress(DataRejected):
        unpacked(raw[:at] + damage + raw[at + len(damage) :], bytes_max=10**6)

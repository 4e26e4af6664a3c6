"""`ratchet predict` against a gateway of the test's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet.core.errors import DataRejected, Unavailable
from ratchet.settings import Settings
from tests.wired import wire

CLASSES = ["a", "b,c"]
INPUTS = [
    {"name": "distance", "datatype": "FP64", "shape": [-1]},
    {"name": "night", "datatype": "BOOL", "shape": [-1]},
    {"name": "photo", "datatype": "BYTES", "shape": [-1]},
    {"name": "track", "datatype": "FP64", "shape": [-1, 2]},
]


class Gateway(BaseHTTPRequestHandler):
    """Answers with the first feature of each row as the probability of the second class; refuses width 9 and -1."""

    requests: list[list[int]]

    def do_GET(self) -> None:
        self._answer(200, {"inputs": INPUTS})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if body["inputs"][0]["name"] != "features":
            self._answer_typed(body["inputs"])
            return
        (tensor,) = body["inputs"]
        num_rows, width = tensor["shape"]
        rows = [tensor["data"][row * width : (row + 1) * width] for row in range(num_rows)]
        self.requests.append([num_rows, width])
        bad = [index for index, row in enumerate(rows) if row[0] == -1]
        if width == 9 or bad:
            reason = f"t: instances[{bad[0]}][0] is -1" if bad else f"t: shape [{num_rows}, 9]; this model takes 2"
            self._answer(400, {"error": reason})
            return
        outputs = [
            {"name": "label", "data": [CLASSES[row[0] > 0.5] for row in rows]},
            {"name": "probability", "data": [max(row[0], 1 - row[0]) for row in rows]},
            {"name": "scores", "data": [each for row in rows for each in (1 - row[0], row[0])],
             "parameters": {"classes": json.dumps(CLASSES)}},
        ]  # fmt: skip
        self._answer(200, {"outputs": outputs, "parameters": {"model_digest": "d1"}})

    def _answer_typed(self, tensors: list[dict[str, Any]]) -> None:
        """A model of a number: it answers with the distance."""
        self.requests.append(tensors)  # type: ignore[arg-type]
        columns = {tensor["name"]: tensor["data"] for tensor in tensors}
        if -1 in columns["distance"]:
            self._answer(400, {"error": f"t: instances[{columns['distance'].index(-1)}].distance is wrong"})
            return
        label = {"name": "label", "datatype": "FP64", "data": columns["distance"]}
        self._answer(200, {"outputs": [label], "parameters": {"model_digest": "d1"}})

    def _answer(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.send_header("x-request-id", f"r{len(self.requests)}")
        self.send_header("x-ratchet-revision", "t-00001")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    Gateway.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    wire(monkeypatch, settings=lambda: Settings(gateway_endpoint=endpoint))
    yield Gateway.requests
    server.shutdown()


TYPED = [
    {"name": "distance", "datatype": "FP64", "shape": [2], "data": [900, 3.5]},
    {"name": "night", "datatype": "BOOL", "shape": [2], "data": [True, None]},
    {"name": "photo", "datatype": "BYTES", "shape": [2], "data": ["eA==", None]},
    {"name": "track", "datatype": "FP64", "shape": [2, 2], "data": [[1, 2], None]},
]


def ask(path: Path, text: str | bytes) -> list[dict[str, Any]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    result = CliRunner().invoke(app, ["predict", str(path), "--task", "digits", "--json"])
    if result.exception is not None:
        assert result.stdout == ""
        raise result.exception
    return json.loads(result.stdout)


def test_a_row_has_scores_and_what_feedback_needs(requests: list[list[int]], tmp_path: Path) -> None:
    (row,) = ask(tmp_path / "x", '\n{"id": "e", "features": [0.75, 1]}\n')
    assert row == {
        "id": "e", "label": "b,c", "probability": 0.75, "scores": {"a": 0.25, "b,c": 0.75}, "request_id": "r1",
        "instance": 0, "model_digest": "d1", "revision": "t-00001",
    }  # fmt: skip


def test_what_exceeds_a_request_is_split_and_keeps_its_order(requests: list[list[int]], tmp_path: Path) -> None:
    rows = ask(tmp_path / "x", "".join(f'{{"features": [{n / 1000}, 1]}}\n' for n in range(150)))
    assert [row["id"] for row in rows] == [str(n) for n in range(1, 151)]
    assert [row["scores"]["b,c"] for row in rows] == [n / 1000 for n in range(150)]
    assert requests == [[64, 2], [64, 2], [22, 2]] and [row["instance"] for row in rows[62:66]] == [62, 63, 0, 1]


@pytest.mark.slow
def test_wide_examples_are_split_by_bytes(requests: list[list[int]], tmp_path: Path) -> None:
    line = json.dumps({"features": [0.123456789] * 60_000})
    assert len(ask(tmp_path / "x", f"{line}\n" * 9)) == 9
    assert requests == [[4, 60_000], [4, 60_000], [1, 60_000]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('{"features": [0, 1]}\n{"features": [-1, 1]}\n', "line 2: t: instances[1][0] is -1", id="server"),
        pytest.param('{"features": [0, 1]}\n' * 2 + '{"features": [0, 0, 0, 0, 0, 0, 0, 0, 0]}',
                     "line 3: t: shape [1, 9]", id="width"),
        pytest.param('{"features": [0, 1]}\n{"feature": [0]}\n', "line 2: `features` must be a list", id="no-features"),
        pytest.param('{"features": {"a": 1}}', "line 1: `features` must be a list of numbers, found an", id="object"),
        pytest.param('{"features": [true]}', "line 1: `features[0]` must be a number, found true", id="boolean"),
        pytest.param('{"features": [NaN]}', "line 1: not JSON", id="nan"),
        pytest.param("[" * 100_000, "line 1: not JSON", id="deep"),
        pytest.param(b'{"features": [1]}\n\xff\n', "line 2: not UTF-8", id="bytes"),
        pytest.param(json.dumps({"features": [0.123456789] * 400_000}), "line 1: the features take", id="too-wide"),
    ],
)  # fmt: skip
def test_an_error_names_the_line(requests: list[list[int]], tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(DataRejected) as refused:
        ask(tmp_path / "x", text)
    assert f"{tmp_path / 'x'}, {told}" in str(refused.value)


def test_a_gateway_that_is_down_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wire(monkeypatch, settings=lambda: Settings(gateway_endpoint="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="ratchet up"):
        ask(tmp_path / "x", '{"features": [1]}')
    assert ask(tmp_path / "x", "\n") == [], "nothing to ask"


def test_named_inputs_are_sent_as_tensors_by_what_the_model_says_of_them(requests: list[Any], tmp_path: Path) -> None:
    full = {"distance": 900, "night": True, "photo": {"b64": "eA=="}, "track": [1, 2]}
    rows = ask(tmp_path / "x", json.dumps({"inputs": full}) + '\n{"id": "e", "inputs": {"distance": 3.5}}\n')
    assert requests == [TYPED]
    assert [(row["id"], row["label"], row["probability"], row["scores"]) for row in rows] == [
        ("1", 900, None, None),
        ("e", 3.5, None, None),
    ]


def test_a_header_names_the_inputs_of_a_csv(requests: list[Any], tmp_path: Path) -> None:
    text = '\ufeffdistance,night,photo,track\r\n900,TRUE,eA==,"[1, 2]"\r\n3.5,,,\r\n'
    assert [row["label"] for row in ask(tmp_path / "x.csv", text)] == [900, 3.5]
    assert requests == [TYPED]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        pytest.param(
            "x", '{"inputs": {"distance": 1}}\n{"inputs": {"distance": -1}}', ", line 2: t: instances[1]", id="server"
        ),
        pytest.param(
            "x", '{"inputs": {"distance": 1, "far": 2}}', ", line 1: there is no input 'far'; the model", id="name"
        ),
        pytest.param(
            "x", '{"inputs": [1]}', ", line 1: `inputs` must be an object {name: value}, found a list", id="list"
        ),
        pytest.param("x", '{"inputs": {}}', ", line 1: `inputs` must be an object", id="nothing"),
        pytest.param(
            "x.csv", "distance\n1\nfar\n", ", line 3: `distance` must be a finite number, found 'far'", id="csv-text"
        ),
        pytest.param(
            "x.csv", "distance\nnan\n", ", line 2: `distance` must be a finite number, found 'nan'", id="csv-nan"
        ),
        pytest.param("x.csv", "distance,night\n1,maybe\n", ", line 2: `night` must be true or false", id="csv-boolean"),
        pytest.param("x.csv", "distance,night\n1\n", ", line 2 has 1 cells, the header 2", id="csv-short"),
        pytest.param("x.csv", "distance\n1,2\n", ", line 2 has 2 cells, the header 1", id="csv-long"),
        pytest.param("x.csv", b"distance\n\xff\n", " is not CSV in UTF-8", id="csv-bytes"),
        pytest.param("x.csv", 'distance\n"1\n', " is not CSV in UTF-8", id="csv-quote"),
    ],
)
def test_an_error_of_named_inputs_names_the_line(
    requests: list[Any], tmp_path: Path, name: str, text: str | bytes, told: str
) -> None:
    with pytest.raises(DataRejected) as refused:
        ask(tmp_path / name, text)
    assert f"{tmp_path / name}{told}" in str(refused.value)

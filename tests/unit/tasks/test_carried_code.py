"""A model answers by the code that it carries, whatever becomes of the user's folder."""

# ruff: noqa: E501 - tables of sources, one a line
import importlib
import logging
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ratchet.core.errors import DataRejected, PolicyError
from ratchet.tasks.code_collect import collect_code, collect_task_code
from ratchet.tasks.identity import model_digest
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import load_model, load_weights, save_model
from ratchet.training.job import TrainingJob
from ratchet.training.loop import train
from tests.models import DIGITS, changed, digits_model
from tests.user_code import ROWS_BF, UserFolder


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UserFolder:
    folder = UserFolder(tmp_path / "user")
    monkeypatch.syspath_prepend(str(folder.root))
    return folder


EDITS = {
    "preprocess": lambda user: user.edit("task.py", "scale(features_BF)", "scale(features_BF) ** 2"),
    "network": lambda user: user.edit("task.py", "nn.Linear(64,", "nn.Linear(32,"),
    "helper": lambda user: user.edit("scaling.py", "/ 16", "/ 15"),
    "broken": lambda user: user.edit("task.py", "class Own", "clas Own"),
    "deleted": lambda user: shutil.rmtree(user.root),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_no_edit_of_the_users_folder_changes_what_a_model_answers(
    user: UserFolder, tmp_path: Path, edit: Callable[[UserFolder], None]
) -> None:
    digest = user.save(tmp_path / "model")
    before_BK = load_model(tmp_path / "model").predict_proba(ROWS_BF)
    edit(user)
    shutil.copytree(tmp_path / "model", tmp_path / "elsewhere")
    loaded = load_model(tmp_path / "elsewhere", expected_digest=digest)
    assert np.array_equal(loaded.predict_proba(ROWS_BF), before_BK)
    assert loaded.digest == digest


def test_two_versions_of_one_module_answer_in_one_process(user: UserFolder, tmp_path: Path) -> None:
    user.write("lazy.py", "FACTOR = 1\n")
    lazily = "from churn.lazy import FACTOR\n        return FACTOR * torch.from_numpy(scale"
    user.edit("task.py", "return torch.from_numpy(scale", lazily)
    old = user.save(tmp_path / "old")
    user.write("lazy.py", "FACTOR = 7\n")
    new = user.save(tmp_path / "new")
    shutil.rmtree(user.root)
    champion, challenger = load_model(tmp_path / "old"), load_model(tmp_path / "new")
    assert old != new
    rows = (champion.task.preprocess(ROWS_BF) * 7, challenger.task.preprocess(ROWS_BF))
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(champion.predict_proba(ROWS_BF), challenger.predict_proba(ROWS_BF))


def test_a_loaded_model_leaves_no_trace_that_a_later_import_meets(user: UserFolder, tmp_path: Path) -> None:
    user.save(tmp_path / "model")
    path, modules = list(sys.path), set(sys.modules)
    load_model(tmp_path / "model").predict_proba(ROWS_BF)
    assert sys.path == path
    assert all(name.startswith("ratchet_model_") for name in set(sys.modules) - modules)
    assert not list(tmp_path.rglob("model/**/__pycache__")), "a byte more would be another model"
    user.edit("scaling.py", "/ 16", "/ 15")
    importlib.invalidate_caches()
    try:
        assert importlib.import_module("churn.scaling").scale(30) == 2
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "churn"]:
            del sys.modules[name]


IMPORTS = {
    "relative": ("from .scaling import scale as found", {}),
    "relative-module": ("from . import scaling\nfound = scaling.scale", {}),
    "relative-upwards": ("from .deep.er import found", {"deep/__init__.py": "", "deep/er.py": "from ..scaling import scale as found"}),
    "plain": ("import churn.scaling\nfound = churn.scaling.scale", {}),
    "renamed": ("import churn.scaling as other\nfound = other.scale", {}),
    "star": ("from churn.scaling import *\nfound = scale", {}),
    "from-package": ("from churn import scaling\nfound = scaling.scale", {}),
    "by-name": ("import importlib\nfound = importlib.import_module('churn.scaling').scale", {}),
    "by-relative-name": ("from importlib import import_module\nfound = import_module('.scaling', __package__).scale", {}),
    "namespace-package": ("from churn.plain.one import found", {"plain/one.py": "from churn.scaling import scale as found"}),
    "package-code": ("from churn.full import found", {"full/__init__.py": "from .inner import found", "full/inner.py": "found = __import__('churn.scaling', fromlist=['scale']).scale"}),
    "circular": ("from churn.a import found", {"a.py": "import churn.b\ndef found(x): return churn.b.scale(x)", "b.py": "import churn.a\nfrom churn.scaling import scale"}),
    "optional": ("try:\n    import no_such_module\nexcept ImportError:\n    from .scaling import scale as found", {}),
    "dataclass": (
        "from __future__ import annotations\nimport dataclasses, typing\nfrom .scaling import scale\n"
        "@dataclasses.dataclass\nclass Kept:\n    kind: typing.ClassVar[int] = 1\n    number: int = 2\n"
        "typing.get_type_hints(Kept)\nfound = scale",
        {},
    ),
    "library": ("from ratchet.tasks import digits, spec\nimport ratchet.core.digest\nfrom ratchet.tasks.digits import Digits\nassert digits.Digits is Digits and spec.TaskSpec and ratchet.core.digest\nfrom .scaling import scale as found", {}),
    "resources": ("import importlib.resources as r\nfound = eval(r.files(__package__).joinpath('rule.txt').read_text())", {"rule.txt": "lambda x: x / 16"}),
    "own-folder": ("from pathlib import Path\nfound = eval((Path(__file__).parent / 'data' / 'rule.txt').read_text())", {"data/rule.txt": "lambda x: x / 16"}),
    "own-folder-os": ("import os\nfound = eval(open(os.path.join(os.path.dirname(__file__), 'data', 'rule.txt')).read())", {"data/rule.txt": "lambda x: x / 16"}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("source", "others"), IMPORTS.values(), ids=IMPORTS.keys())
def test_every_way_to_import_means_in_a_model_what_it_meant_in_training(
    user: UserFolder, tmp_path: Path, source: str, others: dict[str, str]
) -> None:
    for name, text in others.items():
        user.write(name, text)
    user.write("ways.py", source)
    user.edit("task.py", "from churn.scaling import scale", "from churn.ways import found as scale")
    in_training = load_task(user.spec).preprocess(ROWS_BF)
    user.save(tmp_path / "model")
    shutil.rmtree(user.root)
    assert np.array_equal(load_model(tmp_path / "model").task.preprocess(ROWS_BF), in_training)


def test_a_task_that_extends_the_example_carries_the_example_too(user: UserFolder, tmp_path: Path) -> None:
    user.write("task.py", "from ratchet.tasks.digits import Digits\nclass Own(Digits):\n    pass\n")
    user.save(tmp_path / "model")
    assert (tmp_path / "model" / "code" / "ratchet" / "tasks" / "digits.py").is_file()
    assert load_model(tmp_path / "model").predict_proba(ROWS_BF).shape == (8, 10)


def test_a_single_module_beside_the_configs_is_carried(user: UserFolder, tmp_path: Path) -> None:
    (user.root / "alone.py").write_text((user.root / "churn" / "task.py").read_text())
    user.save(tmp_path / "model", spec=changed(user.spec, {"implementation": "alone:Own"}))
    shutil.rmtree(user.root)
    assert load_model(tmp_path / "model").predict_proba(ROWS_BF).shape == (8, 10)
    carried = {path.name for path in (tmp_path / "model" / "code").rglob("*.py")}
    assert carried == {"alone.py", "__init__.py", "scaling.py"}


def test_a_model_carries_what_trained_it_though_the_file_is_edited_meanwhile(user: UserFolder, tmp_path: Path) -> None:
    code = collect_task_code(user.spec)
    network = load_task(user.spec).build_model()
    user.edit("scaling.py", "/ 16", "/ 15")
    save_model(tmp_path / "model", spec=user.spec, network=network, code=code)
    assert "/ 16" in (tmp_path / "model" / "code" / "churn" / "scaling.py").read_text()


def test_what_only_a_type_checker_or_a_script_imports_is_not_carried(user: UserFolder) -> None:
    user.write("heavy.py", "")
    user.edit(
        "task.py",
        "import torch\n",
        "import torch\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import churn.heavy\n"
        'if __name__ == "__main__":\n    import churn.heavy\n    open("pyproject.toml")\n',
    )
    assert set(collect_code(user.spec.implementation).files) == {
        "churn/__init__.py",
        "churn/task.py",
        "churn/scaling.py",
    }


def test_a_traceback_shows_the_users_line(user: UserFolder, tmp_path: Path) -> None:
    user.edit("scaling.py", "return features_BF / 16", "return features_BF / unknown")
    user.save(tmp_path / "model")
    shutil.rmtree(user.root)
    model = load_model(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(NameError) as raised:
        model.predict_proba(ROWS_BF)
    text = "".join(traceback.format_exception(raised.value))
    assert "code/churn/scaling.py" in text and "return features_BF / unknown" in text


FAULTS = {
    "name": ("import torch\n", "import torch\nunknown\n", r"NameError: name 'unknown' .*task\.py, line 3\)"),
    "exit": ("import torch\n", "import sys, torch\nsys.exit(3)\n", r"sys\.exit\(3\) .*task\.py, line 3\)"),
    "missing": (
        "import torch\n",
        "import torch\nimport not_there\n",
        r"No module named 'not_there' .*task\.py, line 3\)",
    ),
    "constructor": ("self.spec = spec", "self.spec = spec.no_such", r"no_such' .*task\.py, line 11, in __init__\)"),
    "no-class": ("class Own", "class Other", r"AttributeError: .*Own"),
}


@pytest.mark.parametrize(("old", "new", "text"), FAULTS.values(), ids=FAULTS.keys())
def test_code_that_fails_is_named_by_file_line_and_exception(
    user: UserFolder, tmp_path: Path, old: str, new: str, text: str
) -> None:
    network = load_task(user.spec).build_model()
    user.edit("task.py", old, new)
    with pytest.raises(PolicyError, match=text):
        load_task(user.spec)
    digest = save_model(tmp_path / "model", spec=user.spec, network=network)
    with pytest.raises(DataRejected, match=text) as refused:
        load_model(tmp_path / "model")
    assert f"model digits {digest[:12]} cannot be loaded" in str(refused.value)


def test_weights_of_another_network_are_refused_by_the_models_name(user: UserFolder, tmp_path: Path) -> None:
    network = load_task(user.spec).build_model()
    user.edit("task.py", "nn.Linear(64,", "nn.Linear(32,")
    digest = save_model(tmp_path / "model", spec=user.spec, network=network)
    with pytest.raises(
        DataRejected, match=f"model digits {digest[:12]} cannot be loaded: RuntimeError: .*size mismatch"
    ):
        load_model(tmp_path / "model")


def test_a_refusal_names_the_distributions_that_differ(user: UserFolder, tmp_path: Path) -> None:
    user.edit("task.py", "import torch\n", "import torch\nimport not_there\n")
    torch_network = load_task(DIGITS).build_model()
    save_model(tmp_path / "model", spec=user.spec, network=torch_network)
    requirements = tmp_path / "model" / "requirements.txt"
    assert "torch==" in requirements.read_text() and "ratchet==" in requirements.read_text()
    requirements.write_text("torch==0.1\nno-such-library==2\n")
    with pytest.raises(
        DataRejected, match=r"no-such-library is not installed here, trained with 2; torch .* with 0\.1"
    ):
        load_model(tmp_path / "model")


def test_a_module_named_at_run_time_is_refused_rather_than_taken_from_the_users_folder(
    user: UserFolder, tmp_path: Path
) -> None:
    user.write("plugin.py", "def scale(x):\n    return x\n")
    user.edit(
        "task.py",
        "from churn.scaling import scale",
        "scale = __import__('importlib').import_module('churn.' + 'plugin').scale",
    )
    user_root = user.root / "other.py"
    user_root.write_text("")
    network = load_task(DIGITS).build_model()
    save_model(tmp_path / "model", spec=user.spec, network=network)
    with pytest.raises(DataRejected, match=r"No module named 'churn\.plugin' in the model's code"):
        load_model(tmp_path / "model")
    user.edit("task.py", "'churn.' + 'plugin'", "'oth' + 'er'")
    save_model(tmp_path / "model", spec=user.spec, network=network)
    with pytest.raises(DataRejected, match="No module named 'other' in the model's code"):
        load_model(tmp_path / "model")


UNCARRIED = {
    "compiled": ("import churn.fast\n", "fast.cpython-311-x86_64-linux-gnu.so", b"\x7fELF", "not a Python source file"),
    "pickle": ("from pathlib import Path\nPath(__file__).with_name('w.pt')\n", "w.pt", b"x", r"reads .*w\.pt"),
    "large": ("__file__\nopen('v.json')\n", "v.json", b" " * (5 << 20), r"v\.json, \d+ bytes"),
    "syntax": ("def\n", "x.py", b"", r"task\.py, line 1: SyntaxError"),
}


@pytest.mark.parametrize(("source", "name", "content", "text"), UNCARRIED.values(), ids=UNCARRIED.keys())
def test_what_a_model_cannot_carry_is_refused_before_training(
    user: UserFolder, source: str, name: str, content: bytes, text: str
) -> None:
    (user.root / "churn" / name).write_bytes(content)
    user.write("task.py", source)
    with pytest.raises(PolicyError, match=text):
        collect_task_code(user.spec)


@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "in-the-working-directory"])
def test_a_file_read_from_outside_the_code_is_refused(
    user: UserFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "means.npy").write_bytes(b"")
    name = str(tmp_path / "means.npy") if is_absolute else "means.npy"
    user.edit("task.py", "class Own", f"MEANS = np.load({name!r})\nclass Own")
    with pytest.raises(PolicyError, match=r"task\.py, line 9: reads .*means\.npy"):
        collect_task_code(user.spec)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(lambda f: (f / "code/churn/task.py").write_text("import os"), "code/churn/task.py has changed", id="code"),
        pytest.param(lambda f: (f / "code/churn/more.py").write_text(""), "code/churn/more.py was added", id="added"),
        pytest.param(lambda f: (f / "code/churn/scaling.py").unlink(), "code/churn/scaling.py is missing", id="missing"),
        pytest.param(lambda f: (f / "task.json").write_text("{}"), "task.json has changed", id="task"),
        pytest.param(lambda f: (f / "digests.json").write_text("{}"), "", id="the-note-decides-nothing"),
        pytest.param(lambda f: shutil.rmtree(f / "code"), "is missing", id="all-code"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_the_expected_model_is_refused_before_its_code_runs(
    user: UserFolder, tmp_path: Path, change: Callable[[Path], None], text: str
) -> None:
    digest = user.save(tmp_path / "model")
    if not text:
        change(tmp_path / "model")
        (tmp_path / "model" / "code" / "churn" / "task.py").write_text("1 / 0")
        text = "which file differs is not known"
    else:
        change(tmp_path / "model")
    for load in (load_model, load_weights):
        with pytest.raises(DataRejected, match=text) as refused:
            load(tmp_path / "model", expected_digest=digest)
        assert digest[:12] in str(refused.value)


def test_a_folder_named_by_a_digest_must_have_it(tmp_path: Path) -> None:
    digest = digits_model(tmp_path / "model")
    other = tmp_path / digest
    digits_model(other, seed=1)
    (other / "digests.json").unlink()
    with pytest.raises(DataRejected, match=digest[:12]):
        load_model(other)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        pytest.param(lambda code: (code / "x.py").symlink_to("/etc/hostname"), "a link", id="link"),
        pytest.param(lambda code: (code / "folder").symlink_to("/etc"), "a link", id="linked-folder"),
        pytest.param(lambda code: (code / "x.so").write_bytes(b""), "x.so", id="compiled"),
        pytest.param(lambda code: (code / "x.pkl").write_bytes(b""), "x.pkl", id="pickle"),
        pytest.param(lambda code: (code / ".hidden.py").write_bytes(b""), "no path of a file", id="hidden"),
        pytest.param(lambda code: (code / "big.json").write_bytes(b" " * (5 << 20)), "at most", id="large"),
    ],
)
def test_a_models_code_is_plain_small_files_of_known_kinds(
    tmp_path: Path, spoil: Callable[[Path], None], text: str
) -> None:
    digits_model(tmp_path)
    spoil(tmp_path / "code")
    with pytest.raises(DataRejected, match=text):
        model_digest(tmp_path)


def test_models_from_before_keep_their_digest_and_load_from_the_installed_code(
    user: UserFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digits_model(tmp_path)
    shutil.rmtree(tmp_path / "code")
    for name in ("digests.json", "requirements.txt"):
        (tmp_path / name).unlink()
    with caplog.at_level(logging.WARNING):
        loaded = load_model(tmp_path)
    assert "carries no code" in caplog.text and loaded.digest[:12] in caplog.text
    assert loaded.predict_proba(ROWS_BF).shape == (8, 10)


def test_an_implementation_in_an_installed_library_is_bound_to_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    UserFolder(site, "kindlib")
    monkeypatch.syspath_prepend(str(site))
    metadata = site / "kindlib-1.2.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: kindlib\nVersion: 1.2\n")
    spec = changed(DIGITS, {"implementation": "kindlib.task:Own"})
    network = load_task(spec).build_model()
    digest = save_model(tmp_path / "model", spec=spec, network=network)
    assert not (tmp_path / "model" / "code").exists()
    assert load_model(tmp_path / "model").digest == digest
    metadata.write_text("Metadata-Version: 2.1\nName: kindlib\nVersion: 1.3\n")
    with pytest.raises(DataRejected, match=r"kindlib 1\.3 here, trained with 1\.2"):
        load_model(tmp_path / "model")


def test_a_worker_that_finds_other_code_than_its_training_began_with_stops(user: UserFolder, tmp_path: Path) -> None:
    job = TrainingJob(
        spec=user.spec,
        code_digest=collect_task_code(user.spec).digest,
        base_model_path=None,
        **{
            name: tmp_path / name
            for name, field in TrainingJob.model_fields.items()
            if name.endswith(("_path", "_dir")) and field.annotation is Path
        },
    )
    user.edit("scaling.py", "/ 16", "/ 15")
    with pytest.raises(DataRejected, match="edited after this training began"):
        train(job, rank=0, world_size=1)

"""A failed task says its exception, and the line of the user's code: whatever the log ends with."""

import subprocess
import sys

import pytest

from embedded.control_plane.engine.failure_text import describe_failure, last_words_of
from embedded.control_plane.engine.task_process import exit_of
from embedded.control_plane.engine.tracebacks import parse_traces
from tests.conftest import PROJECT_DIR

KFP_HEAD = """\
[control plane] 2 variables are ignored
[KFP Executor 2026-01-31 12:00:00,000 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {"a": 1}
    },
    "outputs": {
        "outputFile": "/data/output.json"
    }
}
"""
USER = """\
Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/kfp/dsl/executor_main.py", line 9, in main
    executor.execute()
  File "/home/my_task.py", line 12, in loss
    return foo(logits)
           ^^^
NameError: name 'foo' is not defined
"""
INSIDE_TORCH = """\
Traceback (most recent call last):
  File "/product/ratchet/training/worker.py", line 40, in train
    loss = task.loss(ddp(inputs[rows]), labels[rows])
  File "/home/my_task.py", line 20, in forward
    return self.head(x)
  File "/v/lib/python3.11/site-packages/torch/nn/modules/linear.py", line 125, in forward
    return F.linear(input, self.weight, self.bias)
RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x64 and 10x10)
"""
LOST_PEER = """\
[rank0]: Traceback (most recent call last):
[rank0]:   File "/home/w.py", line 6, in <module>
[rank0]:     dist.barrier()
[rank0]: RuntimeError: [gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:15771.
"""
BANNER = """\
E1127 20:02:06.247000 9179 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 1
Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/torch/distributed/run.py", line 1032, in <module>
    main()
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
w.py FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 9582)
  error_file: <N/A>
============================================================
"""
CHAINED = """\
Traceback (most recent call last):
  File "/home/a.py", line 3, in read
    value = config["k"]
KeyError: 'k'

{link}

Traceback (most recent call last):
  File "/home/a.py", line 5, in main
    raise RuntimeError("conf") from error
RuntimeError: conf
"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/home/g.py", line 8, in <module>
  |     main()
  | ExceptionGroup: many (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "/home/g.py", line 2, in f
    |     raise TypeError("t")
    | TypeError: t
    +------------------------------------
"""
PRODUCT_ERROR = """\
Traceback (most recent call last):
  File "/tmp/tmp.x/ephemeral_component.py", line 30, in finetune
    finetune_step(
  File "/product/ratchet/training/start.py", line 90, in run_job
    raise DataRejected(
ratchet.core.errors.DataRejected: The training stopped: NameError: name 'foo' is not defined (/home/my_task.py, line 12)
"""
SEGFAULT = """\
epoch 1
Fatal Python error: Segmentation fault

Current thread 0x00007fbfa23bbb80 (most recent call first):
  File "/v/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/home/c.py", line 4 in touch
  File "/home/c.py", line 9 in <module>
"""
CASES = [
    pytest.param(
        1,
        USER,
        "NameError: name 'foo' is not defined (/home/my_task.py, line 12, in loss)",
        id="the-line-of-the-user",
    ),
    pytest.param(
        1,
        INSIDE_TORCH,
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (32x64 and 10x10) "
        "(/home/my_task.py, line 20, in forward)",
        id="innermost-frame-of-the-user-not-of-the-library",
    ),
    pytest.param(
        1,
        PRODUCT_ERROR,
        "DataRejected: The training stopped: NameError: name 'foo' is not defined (/home/my_task.py, line 12)",
        id="an-error-of-the-product-needs-no-line",
    ),
    pytest.param(
        1,
        "".join(f"[rank1]: {line}\n" for line in USER.splitlines()) + LOST_PEER + BANNER.format(code=1),
        "NameError: name 'foo' is not defined (/home/my_task.py, line 12, in loss); in worker 1",
        id="torchrun-banner-behind-two-ranks",
    ),
    pytest.param(
        1,
        LOST_PEER + BANNER.format(code="-9"),
        "worker 1 was killed by SIGKILL (exit code -9): the machine or its container ran out of memory, "
        "or it was killed by hand",
        id="torchrun-banner-of-a-killed-worker",
    ),
    pytest.param(
        1,
        CHAINED.format(link="The above exception was the direct cause of the following exception:"),
        "RuntimeError: conf (/home/a.py, line 5, in main); caused by KeyError: 'k'",
        id="raise-from",
    ),
    pytest.param(
        1,
        CHAINED.format(link="During handling of the above exception, another exception occurred:"),
        "RuntimeError: conf (/home/a.py, line 5, in main); while handling KeyError: 'k'",
        id="raised-while-another-was-handled",
    ),
    pytest.param(
        1,
        GROUP,
        "ExceptionGroup: many (2 sub-exceptions) (/home/g.py, line 8); ValueError: 1; TypeError: t "
        "(/home/g.py, line 2, in f)",
        id="exception-group",
    ),
    pytest.param(
        1,
        '  File "/home/s.py", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax\n',
        "SyntaxError: invalid syntax (/home/s.py, line 1)",
        id="syntax-error-of-the-program-itself",
    ),
    pytest.param(
        1,
        'Traceback (most recent call last):\n  File "/home/m.py", line 2, in <module>\n    import broken\n'
        '  File "/home/broken.py", line 7\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n',
        "SyntaxError: invalid syntax (/home/broken.py, line 7)",
        id="syntax-error-of-an-import",
    ),
    pytest.param(3, KFP_HEAD, "exit code 3, without a Python exception; its log gives no reason", id="exit"),
    pytest.param(
        3,
        "loading\n" + KFP_HEAD,
        "exit code 3, without a Python exception; the last line of its log is: loading",
        id="exit-after-a-line",
    ),
    pytest.param(1, KFP_HEAD + "no data for 2026\n", "exit code 1: no data for 2026", id="exit-with-a-message"),
    pytest.param(
        3,
        USER + "\n".join(f"step {number}" for number in range(30)),
        "exit code 3, without a Python exception; the last line of its log is: step 29",
        id="a-traceback-that-was-handled-long-ago",
    ),
    pytest.param(
        2,
        USER + "\ngiving up\n",
        "NameError: name 'foo' is not defined (/home/my_task.py, line 12, in loss); exit code 2; "
        "the last line of its log is: giving up",
        id="a-traceback-and-then-an-exit",
    ),
    pytest.param(127, "sh: 1: trainn: not found\n", "exit code 127: sh: 1: trainn: not found", id="command-not-found"),
    pytest.param(
        139,
        SEGFAULT,
        "crashed with SIGSEGV (exit code 139) in native code, called from /home/c.py, line 4, in touch; "
        "the last line of its log is: epoch 1",
        id="segmentation-fault",
    ),
    pytest.param(-11, "", "crashed with SIGSEGV (exit code -11) in native code", id="segmentation-fault-in-silence"),
    pytest.param(137, "epoch 3\n", "out of memory, or it was killed by hand; the last line", id="sigkill"),
    pytest.param(143, "", "killed by SIGTERM (exit code 143)", id="sigterm"),
    pytest.param(1, "", "its log gives no reason", id="nothing"),
    pytest.param(
        1,
        USER.replace("NameError: name 'foo' is not defined", "AssertionError"),
        "AssertionError (/home/my_task.py, line 12, in loss)",
        id="an-exception-without-words",
    ),
    pytest.param(
        1,
        USER.replace("NameError: name", "pydantic_core._pydantic_core.ValidationError: 1 error for X\nfield\n  missing")
        + "\nW1127 20:02:01.314000 1 torch/x.py:1] closing\n",
        "1 error for X field missing 'foo' is not defined (/home/my_task.py",
        id="a-message-of-several-lines",
    ),
]


@pytest.mark.parametrize(("code", "log", "expected"), CASES)
def test_a_failure_is_told_by_its_exception_and_the_line_of_the_user(code, log, expected):
    told = describe_failure(code, log, product_dirs=("/product/ratchet/",))
    assert expected in told
    assert "\n" not in told


@pytest.mark.parametrize("log", ["}\n", "====\n----\n", '{\n  "a": 1,\n}\n[\n]\n', "\n \n"])
def test_lines_without_words_are_no_reason(log):
    assert last_words_of(log) == ""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        pytest.param("def f():\n    return {}['k']\nf()", "KeyError: 'k' ({path}, line 2, in f)", id="raised"),
        pytest.param("import sys\nsys.exit('no data')", "exit code 1: no data", id="exit-with-words"),
        pytest.param("import os\nos._exit(4)", "exit code 4, without a Python exception", id="os-exit"),
        pytest.param("import os\nos.abort()", "crashed with SIGABRT", id="abort"),
        pytest.param("raise ExceptionGroup('g', [OSError('a')])", "g (1 sub-exception) ({path}, line 1)", id="group"),
        pytest.param(
            "try:\n    1 / 0\nexcept ZeroDivisionError:\n    import missing_module",
            "ModuleNotFoundError: No module named 'missing_module' ({path}, line 4); while handling ZeroDivisionError",
            id="chain",
        ),
        pytest.param("def f(:", "SyntaxError: ", id="syntax"),
    ],
)
def test_what_python_prints_today_is_understood(program, expected, tmp_path):
    path, log_path = tmp_path / "program.py", tmp_path / "log"
    path.write_text(program)
    with log_path.open("wb") as log:
        code = subprocess.run([sys.executable, str(path)], stdout=log, stderr=log, check=False).returncode
    told = exit_of(code, log_path).message
    assert expected.format(path=path) in told


def test_no_log_makes_the_parser_fail():
    """Any prefix of a real log may be the end of what a task wrote."""
    for log in (USER, GROUP, SEGFAULT, CHAINED, LOST_PEER + BANNER, PRODUCT_ERROR):
        for end in range(len(log)):
            assert describe_failure(1, log[:end])
    assert parse_traces("Traceback (most recent call last):") == []


def test_the_product_s_own_folders_are_no_user_code():
    here = PROJECT_DIR
    log = USER.replace("/home/my_task.py", str(here / "ratchet/training/worker.py"))
    user = f'  File "/home/t.py", line 3, in f\n{log.splitlines()[3]}\n'
    lines = log.splitlines(keepends=True)
    told = describe_failure(1, "".join([*lines[:3], user, *lines[3:]]))
    assert "(/home/t.py, line 3, in f)" in told

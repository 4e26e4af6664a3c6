"""The first worker that fails for good says why; a worker that only lost its neighbour says nothing."""

import pytest

from ratchet.adapters.torchrun import describe_workers
from ratchet.core.errors import DataRejected, PolicyError, Unavailable
from ratchet.training.failure import raise_failure, record_failure

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:15771.")
LOG = """\
epoch 1/4
E1127 20:02:06.247000 9179 torch/distributed/elastic/api.py:1002] failed (exitcode: {code}) local_rank: 1
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 9582)
============================================================
"""


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        pytest.param(NameError("name 'foo' is not defined"), PolicyError, "NameError: name 'foo'", id="user-code"),
        pytest.param(DataRejected("3 rows are too few"), DataRejected, "^3 rows are too few", id="expected"),
        pytest.param(SystemExit(0), PolicyError, r"sys\.exit\(0\)", id="exit-is-no-success"),
        pytest.param(RuntimeError("shapes differ"), PolicyError, "RuntimeError: shapes differ", id="a-runtime-error"),
        pytest.param(AssertionError(), PolicyError, "^AssertionError", id="no-words"),
    ],
)
def test_what_no_restart_can_mend_is_raised_as_what_it_is(tmp_path, error, kind, words):
    path = tmp_path / "failure.json"
    assert record_failure(raised(error), path, rank=1, world_size=2)
    with pytest.raises(kind, match=words) as told:
        raise_failure(path)
    assert "(worker 1 of 2)" in str(told.value)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LOST, id="gloo"),
        pytest.param(ConnectionResetError("Connection reset by peer"), id="socket"),
        pytest.param(Unavailable("the store does not answer"), id="a-server-that-is-down"),
        pytest.param(KeyboardInterrupt(), id="stopped"),
    ],
)
def test_what_a_restart_may_mend_is_left_to_torchrun(tmp_path, error):
    path = tmp_path / "failure.json"
    assert not record_failure(raised(error), path, rank=0, world_size=2)
    raise_failure(path)


def test_the_first_worker_that_failed_stays_and_the_others_end_quietly(tmp_path):
    path = tmp_path / "failure.json"
    record_failure(raised(KeyError("first")), path, rank=1, world_size=2)
    assert record_failure(raised(KeyError("second")), path, rank=0, world_size=2)
    assert record_failure(raised(LOST), path, rank=0, world_size=2)
    with pytest.raises(PolicyError, match=r"KeyError: 'first'.*worker 1 of 2"):
        raise_failure(path)
    assert [file.name for file in tmp_path.iterdir()] == ["failure.json"], "no half-written file stays"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        pytest.param(
            LOG.format(code=-9),
            "worker 1 was killed by SIGKILL (the machine or its container ran out of memory, or it was killed "
            "by hand); "
            "the last line of its log is: epoch 1/4",
            id="killed",
        ),
        pytest.param(LOG.format(code=3), "worker 1 ended with exit code 3", id="os-exit"),
        pytest.param(
            "python: No module named x\n", "the last line of its log is: python: No module named x", id="none"
        ),
        pytest.param("", "(it is empty)", id="empty"),
    ],
)
def test_a_worker_that_ended_without_a_word_is_told_by_its_signal_or_code(log, told):
    assert told in describe_workers(log)

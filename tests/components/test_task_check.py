"""`ratchet tasks check`, on real code in a real process: each mistake is found, with the user's line."""

import pytest

from ratchet.adapters.task_checks import ProcessTaskChecks
from ratchet.core.models.task_checks import TaskReport
from tests.models import DIGITS, changed

HERE = r"broken_tasks.py, line "
PROBLEMS = {
    "MisspeltLoss": ("loss: NameError: name 'cross_entropy' is not defined", HERE),
    "CallsExit": ("loss: the code called sys.exit(3)", HERE),
    "EndsTheProcess": ("build_model: the process ended: exit code 3", ""),
    "WrongShape": ("forward: RuntimeError: mat1 and mat2 shapes cannot be multiplied", ""),
    "TooFewClasses": ("forward: ", "[32, 9]"),
    "InfiniteLoss": ("loss: ", "inf"),
    "NoAccuracy": ("metrics: ", '"accuracy" is missing'),
    "NotThere": ("load: ", "NotThere"),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, TaskReport]:
    names = [*PROBLEMS, "UnusedHead"]
    specs = [changed(DIGITS, {"name": name.lower(), "implementation": f"tests.broken_tasks:{name}"}) for name in names]
    told = ProcessTaskChecks().check([*specs, DIGITS], timeout_s=120)
    return dict(zip([*names, "Digits"], told, strict=True))


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_mistake_is_found_before_anything_is_trained(reports, name):
    for words in PROBLEMS[name]:
        assert words in reports[name].problem


def test_a_task_without_mistake_passes_though_others_ended_the_process_before_it(reports):
    assert reports["Digits"].problem == ""
    assert [each.state for each in reports["Digits"].results] == ["passed"] * 8
    assert not any(each.warning for each in reports["Digits"].results)


def test_a_parameter_that_nothing_trains_is_a_warning_and_no_failure(reports):
    assert reports["UnusedHead"].is_fine
    warnings = [each.warning for each in reports["UnusedHead"].results if each.warning]
    assert warnings == ["the loss does not use unused.weight, unused.bias: nothing trains them"]


def test_code_that_hangs_is_ended_at_its_deadline():
    spec = changed(DIGITS, {"implementation": "tests.broken_tasks:Hangs"})
    (report,) = ProcessTaskChecks().check([spec], timeout_s=1)
    assert "did not end in 1 s" in (report.problem or report.not_checked)

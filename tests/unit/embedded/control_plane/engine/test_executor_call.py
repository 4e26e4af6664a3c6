"""Which commands do nothing but run one Python function: only these may be forked."""

import pytest
from kfp import dsl

from embedded.control_plane.engine.executor_call import ExecutorCall, executor_call_of


def words_of(**options: object) -> list[str]:
    """As the compiler that is installed writes them."""

    @dsl.component(**options)
    def double(number: int) -> int:
        return 2 * number

    container = double.component_spec.implementation.container
    return [*container.command, *container.args]


PLAIN = words_of(install_kfp_package=False)


def test_a_function_without_packages_is_one_call_of_the_executor() -> None:
    call = executor_call_of(PLAIN)
    assert call is not None
    assert "def double(number: int) -> int:" in call.source
    assert call.arguments[0] == "--executor_input"
    assert call.arguments[-2:] == ("--function_to_execute", "double")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words_of(), id="installs-kfp"),
        pytest.param(words_of(install_kfp_package=False, packages_to_install=["six"]), id="installs-packages"),
        pytest.param([*PLAIN[:2], f"{PLAIN[2]}\necho done", *PLAIN[3:]], id="does-more"),
        pytest.param([*PLAIN[:2], PLAIN[2].replace("python3", "python4"), *PLAIN[3:]], id="another-interpreter"),
        pytest.param(["bash", *PLAIN[1:]], id="another-shell"),
        pytest.param(["sh", "-x", *PLAIN[2:]], id="another-option"),
        pytest.param(PLAIN[:3], id="no-source"),
        pytest.param([*PLAIN, "x" * 128 * 1024], id="an-argument-that-no-program-can-be-given"),
        pytest.param(["python3", "-m", "kfp.dsl.executor_main"], id="no-shell"),
        pytest.param([], id="nothing"),
    ],
)
def test_everything_else_has_an_interpreter_of_its_own(words: list[str]) -> None:
    assert executor_call_of(words) is None


def test_the_longest_argument_that_linux_takes_is_taken() -> None:
    call = executor_call_of([*PLAIN, "x" * (128 * 1024 - 1)])
    assert isinstance(call, ExecutorCall)

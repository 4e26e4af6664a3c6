"""What values become from task to task, and which branch they choose, as a cluster's driver has it.

Sources: kubeflow/pipelines, backend/src/v2/driver/resolve.go (resolveInputs, handleParamTypeValidationAndConversion,
CollectInputs), driver/dag.go (DAG), driver/util.go (getItems), compiler/argocompiler/dag.go (exit hooks).
"""

import json
from typing import Any

import pytest

from embedded.control_plane.engine.loading import load_pipeline
from embedded.control_plane.errors import DataRejected
from tests.embedded import kfp_value_constructs as constructs
from tests.fakes.pipeline_play import compiled, outcome_of, play

OK, SKIPPED, FAILED = "SUCCEEDED", "SKIPPED", "FAILED"


def _fail(**_: Any) -> None:
    raise RuntimeError("broken on purpose")


LEAVES: dict[str, Any] = {
    "say": lambda text: text,
    "double": lambda number: 2 * number,
    "give": lambda text: json.loads(text),
    "nothing": lambda: None,
    "join": lambda texts: ",".join(map(str, texts)),
    "keep": lambda value: value,
    "keep-list": lambda value: value,
    "have": lambda data=None: data is not None,
    "maybe": lambda text=None, number=3: f"{text!r} {number}",
    "fail": _fail,
    "report": lambda status, channel="ops": f"{channel} {status['state']} {status['pipelineTaskName']}",
}

CASES = [
    pytest.param(
        constructs.branch_on_static_items,
        {},
        {
            "for-loop-2/0/condition-branches-3/condition-4": SKIPPED,
            "for-loop-2/0/condition-branches-3/condition-5/say-2": "not two",
            "for-loop-2/1/condition-branches-3/condition-4/say": "two",
            "for-loop-2/1/condition-branches-3/condition-5": SKIPPED,
        },
        id="static-items",
    ),
    pytest.param(
        constructs.branch_on_listed_items,
        {},
        {
            "for-loop-1/0/condition-branches-2/condition-5/say-3": "else",
            "for-loop-1/1/condition-branches-2/condition-3/say": "two",
            "for-loop-1/2/condition-branches-2/condition-4/say-2": "more",  # texts are compared: "10" > "1"
            "for-loop-1/3/condition-branches-2/condition-5/say-3": "else",  # null is the empty text
            "for-loop-1/4/condition-branches-2/condition-4/say-2": "more",  # "true" > "1"
            "for-loop-1/5/condition-branches-2/condition-5/say-3": "else",
        },
        id="items-out-of-a-component-are-texts",
    ),
    pytest.param(
        constructs.branch_on_fields,
        {},
        {
            "for-loop-1/0/condition-2/say": "not two",
            "for-loop-1/0/condition-3": SKIPPED,
            "for-loop-1/1/condition-2": SKIPPED,
            "for-loop-1/1/condition-3/say-2": "y",
            "for-loop-1/1/double": 4,
        },
        id="fields-of-items",
    ),
    pytest.param(
        constructs.nested_static_lists,
        {},
        {
            "for-loop-2/0/for-loop-3/0/condition-4": SKIPPED,
            "for-loop-2/0/for-loop-3/1/condition-4/say": "two",
            "for-loop-2/1/for-loop-3/0/condition-4": SKIPPED,
        },
        id="nested-static-lists",
    ),
    pytest.param(
        constructs.items_into_an_integer,
        {},
        {"for-loop-1/0/double": FAILED, "for-loop-1/1/double": FAILED, "for-loop-1": FAILED},
        id="an-item-that-became-text-is-no-integer",
    ),
    pytest.param(
        constructs.fields_into_a_text,
        {},
        {"for-loop-1/0/maybe": "None 0.5", "for-loop-1/0/maybe-2": FAILED},
        id="a-field-keeps-its-type-and-null-is-no-value",
    ),
    pytest.param(constructs.null_output_into_text, {}, {"maybe": "'' 3"}, id="null-into-text-is-empty"),
    pytest.param(
        constructs.value_into_text,
        {"items": '[1e-7, 1e21, 2.50, 9007199254740993, false, null, ["<", {"b": 1, "a": 2}]]'},
        {
            **{f"for-loop-1/{index}/say": text for index, text in enumerate(("0.0000001", "1000000000000000000000"))},
            "for-loop-1/2/say": "2.5",
            "for-loop-1/3/say": "9007199254740992",
            "for-loop-1/4/say": "false",
            "for-loop-1/5/say": "",
            "for-loop-1/6/say": '["\\u003c",{"a":2,"b":1}]',
        },
        id="text-of-values",
    ),
    pytest.param(constructs.exit_task_fails, {}, {"": OK, "exit-handler-1": OK, "fail": FAILED}, id="hook-no-target"),
    pytest.param(
        constructs.exit_handler_never_reached,
        {},
        {"": FAILED, "exit-handler-1": SKIPPED, "report": SKIPPED},
        id="no-exit-task-without-its-handler",
    ),
    pytest.param(
        constructs.ignores_failure_and_reads_its_output,
        {},
        {"": FAILED, "fail": FAILED, "maybe": "'' 1"},
        id="output-of-a-failed-task-is-empty",
    ),
    pytest.param(
        constructs.ignores_failure_of_a_task_never_reached,
        {},
        {"": FAILED, "say": SKIPPED, "say-2": SKIPPED},
        id="ignoring-failures-is-not-ignoring-a-skip",
    ),
    pytest.param(
        constructs.nested_collected,
        {},
        {"for-loop-2/0/join": "1,2", "for-loop-2/1/join": "1,2", "join-2": "1,2,1,2"},
        id="nested-collected-is-one-flat-list",
    ),
    pytest.param(
        constructs.null_through_a_group, {}, {"inner/say": FAILED, "inner": FAILED}, id="null-into-a-nested-pipeline"
    ),
    pytest.param(constructs.null_through_a_group, {"text": "t"}, {"inner/say": "t"}, id="text-into-a-nested-pipeline"),
    pytest.param(constructs.null_in_a_condition, {}, {"": FAILED, "condition-1": FAILED}, id="null-in-a-condition"),
    pytest.param(constructs.f_string_with_quotes, {}, {"say": FAILED}, id="f-string-that-breaks-json"),
    pytest.param(constructs.f_string_with_quotes, {"name": "<é>"}, {"say": "hello <é>"}, id="f-string"),
    pytest.param(
        constructs.values_around_values,
        {"number": 1000000},
        {
            "keep": {
                "a": "x",
                "b": ["1000000", {"deep": "said"}],
                "c": 1.5,
                "d": "x-1000000",
            },
            "keep-list": ["1000000", "x", True],
        },
        id="values-in-lists-and-objects-become-text",
    ),
    pytest.param(
        constructs.values_around_values, {"name": 'a"b'}, {"keep": FAILED, "keep-list": FAILED}, id="that-break-json"
    ),
    pytest.param(
        constructs.optional_artifact_through_a_group,
        {},
        {"have": False, "group-of-artifact/have": FAILED},
        id="no-artifact-through-a-group",
    ),
]


@pytest.mark.parametrize(("pipeline", "arguments", "expected"), CASES)
def test_each_task_gets_what_a_cluster_gives_it(pipeline: Any, arguments: Any, expected: Any) -> None:
    played = play(compiled(pipeline), LEAVES, arguments)
    assert {path: outcome_of(played, path) for path in expected} == expected, played[""].error


def test_inputs_of_a_group_have_their_declared_types() -> None:
    """Older compilers type items STRING and compare with '2'; resolve.go converts the inputs of each DAG."""
    text = json.dumps(compiled(constructs.branch_on_static_items))
    text = text.replace("NUMBER_INTEGER", "STRING")
    text = text.replace("int(inputs.parameter_values['pipelinechannel--loop-item-param-1']) == 2", "IT == '2'")
    wire = json.loads(text.replace("IT", "inputs.parameter_values['pipelinechannel--loop-item-param-1']"))
    played = play(wire, LEAVES)
    assert outcome_of(played, "for-loop-2/0/condition-branches-3/condition-5/say-2") == "not two"
    assert outcome_of(played, "for-loop-2/1/condition-branches-3/condition-4/say") == "two"


@pytest.mark.parametrize(
    ("pipeline", "path", "expected"),
    [
        pytest.param(constructs.items_into_an_integer, "for-loop-1/1/double", 4, id="text-read-as-integer"),
        pytest.param(constructs.f_string_with_quotes, "say", 'hello a "quoted" name', id="f-string-with-quotes"),
    ],
)
def test_leniency_is_asked_for(pipeline: Any, path: Any, expected: Any) -> None:
    assert outcome_of(play(compiled(pipeline), LEAVES, is_lenient=True), path) == expected
    assert outcome_of(play(compiled(pipeline), LEAVES), path) == FAILED


@pytest.mark.parametrize(
    ("pipeline", "told"),
    [
        pytest.param(constructs.run_placeholder_in_text, "inside a longer text", id="placeholder-in-text"),
        pytest.param(constructs.run_placeholder_in_list, "a list or object", id="placeholder-in-list"),
        pytest.param(constructs.workspace_in_object, "workspace_path.* in a list or object", id="workspace-in-object"),
        pytest.param(constructs.f_string_into_a_group, "hands on unfilled", id="f-string-into-a-group"),
        pytest.param(constructs.object_into_a_group, "hands on unfilled", id="object-into-a-group"),
        pytest.param(constructs.import_from_a_task, "an importer's address must be", id="import-from-a-task"),
        pytest.param(constructs.two_hooks_on_one_task, "runs only the last", id="two-hooks"),
        pytest.param(constructs.waits_for_a_hook, "no task can wait for it", id="waits-for-a-hook"),
    ],
)
def test_what_a_cluster_would_do_in_silence_is_refused(pipeline: Any, told: Any) -> None:
    with pytest.raises(DataRejected, match=told):
        load_pipeline(compiled(pipeline))


@pytest.mark.parametrize("where", ["task", "group"])
def test_output_that_its_producer_does_not_declare_is_refused(where: str) -> None:
    """driver/resolve.go, resolveUpstreamParameters: there is no such key among the outputs of the producer."""
    wire = compiled(constructs.nested_collected if where == "group" else constructs.null_output_into_text)
    text = json.dumps(wire).replace('"outputParameterKey": "Output"', '"outputParameterKey": "typo"')
    with pytest.raises(DataRejected, match="'typo' of task"):
        load_pipeline(json.loads(text))


@pytest.mark.parametrize(
    ("value", "takers"),
    [
        pytest.param("yes", (), id="text"),
        pytest.param(1.5, ("NUMBER_INTEGER", "NUMBER_DOUBLE"), id="number"),
        pytest.param(True, ("BOOLEAN",), id="boolean"),
        pytest.param([1], ("LIST",), id="list"),
        pytest.param({"a": 1}, ("STRUCT",), id="object"),
        pytest.param(None, (), id="null"),
    ],
)
@pytest.mark.parametrize("wanted", ["NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT", "STRING"])
def test_only_text_takes_every_type(value: Any, takers: Any, wanted: str) -> None:
    wire = json.loads(json.dumps(compiled(constructs.null_output_into_text)).replace('"number"', '"other"'))
    wire["components"]["comp-maybe"]["inputDefinitions"]["parameters"]["text"]["parameterType"] = wanted
    leaves = {"nothing": lambda: value, "maybe": lambda **_: "taken"}
    is_taken = wanted == "STRING" or wanted in takers
    assert outcome_of(play(wire, leaves), "maybe") == ("taken" if is_taken else FAILED)

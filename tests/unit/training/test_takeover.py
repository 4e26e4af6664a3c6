"""Which of the champion's weights a changed network takes over, and what is said of the others."""

import pytest
import torch
from torch import nn

from ratchet.core.errors import DataRejected
from ratchet.tasks.identity import write_file_digests
from ratchet.training.takeover import Base, describe_start, find_class_dims, read_base, take_over
from tests.models import digits_model

ABC = ("a", "b", "c")


class Head(nn.Module):
    """An output layer that keeps its classes in the last dimension, and a bias for each class as a buffer."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.randn(num_inputs, num_classes))
        self.register_buffer("prior", torch.randn(num_classes))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs @ self.columns + self.get_buffer("prior")


def linear(width: int, classes: tuple[str, ...]) -> nn.Module:
    """The hidden layer is as wide as there are classes when `width` is chosen so."""
    return nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, len(classes)))


def log_softmax(width: int, classes: tuple[str, ...]) -> nn.Module:
    return nn.Sequential(*linear(width, classes), nn.LogSoftmax(dim=1))  # type: ignore[misc]


def columns(width: int, classes: tuple[str, ...]) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), Head(width, len(classes)))


def zeros(width: int, classes: tuple[str, ...]) -> nn.Module:
    network = linear(width, classes)
    nn.init.zeros_(network[2].weight)  # type: ignore[index]
    return network


def started(make, *, old: tuple[str, ...], new: tuple[str, ...], width: int = 3, old_width: int = 3):
    """The champion's network, the new one with what it takes over, and what is said of it."""
    torch.manual_seed(0)
    champion, network, twin = make(old_width, old), make(width, new), make(width, new)
    base, fresh = Base(champion.state_dict(), old), network.state_dict()
    twin.load_state_dict(take_over(fresh, base, new, {}))
    dims = find_class_dims(twin, base, new, torch.randn(6, 5))
    network.load_state_dict(take_over(fresh, base, new, dims))
    return champion.eval(), network.eval(), describe_start(fresh, base, new, dims, base_name="champion version 3")


CLASS_LISTS = {
    "unchanged": ("a", "b", "c"),
    "reordered": ("c", "a", "b"),
    "one-more": ("a", "b", "c", "d"),
    "two-more-and-reordered": ("d", "a", "e", "c", "b"),
    "one-less": ("a", "c"),
    "renamed": ("a", "renamed", "c"),
}


@pytest.mark.parametrize(
    ("make", "new"),
    [
        pytest.param(make, new, id=f"{make.__name__}-{name}")
        for make in (linear, columns, zeros, log_softmax)
        for name, new in CLASS_LISTS.items()
        # Before a log-softmax of two, either answer moves the other: nothing tells the output layer from a hidden one.
        if not (make is log_softmax and len(new) == 2)
    ],
)
def test_a_known_class_is_answered_as_the_champion_answers_it_wherever_it_stands(make, new):
    """The hidden layer is 3 wide, as are the champion's classes: by shape alone it could be the output layer."""
    champion, network, start = started(make, old=ABC, new=new)
    inputs = torch.randn(7, 5)
    kept = [name for name in new if name in ABC]
    was = champion(inputs)[:, [ABC.index(name) for name in kept]]
    now = network(inputs)[:, [new.index(name) for name in kept]]
    torch.testing.assert_close(now - now[:, :1], was - was[:, :1])
    assert start.num_taken == start.num_tensors
    assert start.new_classes == tuple(name for name in new if name not in ABC)
    assert start.removed_classes == tuple(name for name in ABC if name not in new)


def test_a_new_class_starts_as_build_model_made_it():
    torch.manual_seed(0)
    base = Base({"weight": torch.zeros(2, 4)}, ("a", "b"))
    fresh = {"weight": torch.ones(3, 4)}
    started_at = take_over(fresh, base, ("b", "new", "a"), {"weight": 0})["weight"]
    assert started_at.tolist() == [[0] * 4, [1] * 4, [0] * 4]


def test_a_wider_layer_starts_fresh_and_is_named_with_both_shapes():
    _, _, start = started(linear, old=ABC, new=ABC, width=8, old_width=6)
    assert start.text() == (
        "1 of 4 tensors of champion version 3 taken over; not: 0.weight (6x5 -> 8x5), 0.bias (6 -> 8), "
        "2.weight (3x6 -> 3x8)"
    )


def test_another_network_says_what_is_new_and_what_has_no_place():
    base = Base({"old.weight": torch.ones(2), "bias": torch.ones(2)}, ("a", "b"))
    start = describe_start({"bias": torch.ones(2), "neck": torch.ones(3)}, base, ("a", "b"), {}, base_name="champion 1")
    assert start.text() == "1 of 2 tensors of champion 1 taken over; not: neck (new); without a place here: old.weight"


def test_a_grown_output_layer_is_told_class_by_class():
    _, _, start = started(linear, old=ABC, new=("a", "c", "d"), width=7, old_width=7)
    assert start.text() == (
        "4 of 4 tensors of champion version 3 taken over; 2 known classes class by class: 2.weight, 2.bias; "
        "new classes: d; removed classes: b"
    )


def test_an_output_layer_that_cannot_be_told_is_said_not_guessed():
    class Shared(nn.Module):
        """Each answer depends on every weight."""

        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.randn(num_classes))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs[:, :1] * self.mix.cumsum(0) * self.mix.sum()

    _, _, start = started(lambda _, classes: Shared(len(classes)), old=ABC, new=("b", "a", "c"))
    assert "3 known classes no tensor with a slice for each class was found for them" in start.text()


def test_weights_are_read_without_the_code_that_made_them(tmp_path):
    digits_model(tmp_path)
    task = tmp_path / "task.json"
    task.write_text(task.read_text().replace("ratchet.tasks.digits:Digits", "gone.away:Gone"))
    write_file_digests(tmp_path)
    assert len(read_base(tmp_path).weights) == 6
    task.write_text("{}")
    with pytest.raises(DataRejected, match="start: scratch"):
        read_base(tmp_path)

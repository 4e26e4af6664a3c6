"""One hypothesis about one part of a table, measured. Pure data."""

from typing import Literal, NamedTuple

from ratchet.core.labels.drift.pictures import Picture
from ratchet.core.labels.drift.significance import TestName
from ratchet.core.labels.drift.sketches import Sketch
from ratchet.core.labels.drift.tables import PartName


class Effect(NamedTuple):
    """How far something shifted."""

    name: str
    value: float
    limit: float
    """Of what is harmless."""

    @property
    def excess(self) -> float:
        return self.value / self.limit


class Measure(NamedTuple):
    """One hypothesis: that this part has not shifted."""

    name: str
    """As people read it, different for each: `distance`, `distance: missing`."""
    role: Literal["input", "label"]
    test: TestName
    effects: tuple[Effect, ...]
    p_value: float
    num_old: int
    num_new: int
    picture: Picture
    num_levels: int = 0
    note: str = ""
    """Why it is not judged; "" when it is."""
    detail: str = ""
    """What shifts most in it."""

    @property
    def effect(self) -> Effect:
        """That which goes furthest beyond its limit."""
        return max(self.effects, key=lambda effect: effect.excess)


def measure_nothing(name: PartName, test: TestName, old: Sketch, new: Sketch, effect: Effect) -> Measure:
    """One side has no value at all."""
    return Measure(
        name=name.text,
        role=name.role,
        test=test,
        effects=(effect,),
        p_value=1.0,
        num_old=old.num_rows,
        num_new=new.num_rows,
        picture=Picture((), (), ()),
    )

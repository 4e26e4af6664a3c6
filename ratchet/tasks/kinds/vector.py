"""`kind: vector`: a multilayer perceptron on one vector, each number of which is standardised."""

from ratchet.tasks.kinds.options import VectorOptions
from ratchet.tasks.kinds.tabular import Tabular


class Vector(Tabular):
    """One vector."""

    Options = VectorOptions

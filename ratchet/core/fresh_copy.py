"""Values whose copies derive anew what was derived of the original. Pure."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel


class FreshCopy(BaseModel):
    """A model with cached properties: pydantic copies what they found along with the fields, changed or not."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        copied = super().model_copy(update=update, deep=deep)
        for name in vars(copied).keys() & _cached_in(type(self)):
            del copied.__dict__[name]
        return copied


def _cached_in(kind: type) -> frozenset[str]:
    return frozenset(
        name for base in kind.__mro__ for name, value in vars(base).items() if isinstance(value, cached_property)
    )

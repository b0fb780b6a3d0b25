"""What the methods of every task have in common: validated options, what the harness has to know of the class, and a
fitted state of named arrays. A task's own contract (`Matcher`, `Detector`) extends `Method`.
"""

from __future__ import annotations

from typing import ClassVar, Generic, Self

import numpy as np
from pydantic import BaseModel
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.core.options import capped
from bench.core.validation import Spec


class MethodOptions(Spec):
    """Base of every method's options: frozen, unknown keys refused."""

    def smoke(self) -> Self:
        """Return these options with a couple of iterations, for a smoke run; override where the usual names do not say
        how many.
        """
        return capped(self)

    def overridden(self) -> dict[str, str]:
        """Return option -> why it changes nothing, of the options that others override as they stand. One of them that
        a user writes is refused.
        """
        return {}


OptionsT = TypeVar("OptionsT", bound=BaseModel, covariant=True, default=MethodOptions)


class Method(Generic[OptionsT]):
    """Base class of every method; `Method[MyOptions]` says which options `self.options` are, for the type checker.

    Class attributes:
        version: raise it when the same options give another result; it enters the train key.
        Options: pydantic model of the options (frozen, unknown keys refused): the type parameter, at run time.
        trains: whether `fit` learns from data.
        seeded: whether the seed changes the result; others run once, whatever the suite's seeds.
    """

    version: ClassVar[int] = 1
    Options: ClassVar[type[BaseModel]] = MethodOptions
    trains: ClassVar[bool] = False
    seeded: ClassVar[bool] = False

    def __init__(self, options: OptionsT) -> None:
        self.options = options

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted state as named arrays (kept as safetensors); none by default."""
        return {}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take over a state that `state` returned.

        Raises:
            BenchError: the state is another method's.
        """
        if state:
            raise BenchError(f"{type(self).__name__} keeps no state, but one was given; is it another method's?")

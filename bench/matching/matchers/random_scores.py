"""The floor: scores drawn at random. Any metric that this matcher beats chance with is broken, or leaks.

An image's embedding comes from a generator keyed by (seed, view, SHA-256 of the image's bytes): repeatable, independent
of order and blocks, and unrelated across the views, whatever the image shows. Constant time per image.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bench.core.errors import BenchError
from bench.matching.matchers.base import FitData, Matcher, MatcherOptions, View


class RandomOptions(MatcherOptions):
    """Options of `random`.

    Attributes:
        dimensions: length of an embedding.
    """

    dimensions: int = Field(default=16, ge=2, le=1024)


class RandomScores(Matcher[RandomOptions]):
    """Random unit vectors, compared by the cosine: distances around 1, whatever is compared."""

    version: ClassVar[int] = 1
    Options = RandomOptions
    trains: ClassVar[bool] = False
    seeded: ClassVar[bool] = True
    embeds: ClassVar[bool] = True

    def __init__(self, options: RandomOptions) -> None:
        super().__init__(options)
        self._seed = 0

    def state(self) -> dict[str, np.ndarray]:
        return {"seed": np.array([self._seed], dtype=np.int64)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        if set(state) != {"seed"} or state["seed"].shape != (1,):
            held = ", ".join(sorted(state)) or "nothing"
            raise BenchError(f"this is not the state of the random matcher: it holds {held}; expected seed")
        self._seed = int(state["seed"][0])

    def embedding_distance(self) -> str:
        return "cosine"

    def _fit(self, data: FitData) -> dict[str, Any]:
        self._seed = int(data.seed)
        return {}

    def _embed(self, view: View, images: np.ndarray) -> np.ndarray:
        vectors = [self._vector(view, image) for image in images]
        return np.stack(vectors) if vectors else np.zeros((0, self.options.dimensions), dtype=np.float32)

    def _vector(self, view: View, image: np.ndarray) -> np.ndarray:
        key = hashlib.sha256(f"{self._seed} {view} {image.shape} {image.dtype.str} ".encode())
        key.update(np.ascontiguousarray(image).tobytes())
        words = np.frombuffer(key.digest(), dtype="<u8")
        vector = np.random.Generator(np.random.Philox(key=words[:2].astype(np.uint64))).standard_normal(
            self.options.dimensions
        )
        return (vector / np.linalg.norm(vector)).astype(np.float32)

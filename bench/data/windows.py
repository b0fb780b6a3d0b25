"""Cutting scenes into patches: the regular window grid, and step G's rejection of blank or texture-less windows by
stated criteria.

Shared by the scene-pairs reader and by `bench data cut`, so that both choose the same windows. Reads no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.core.errors import BenchError

Window = tuple[int, int, int, int]

VERSION = 1


class RejectCriteria(BaseModel):
    """When a window is rejected. Each criterion is off by default; all use grey levels on the scale 0..255.

    Integers are brought to that scale by 255 / the largest value of their dtype, floats (which must lie in 0..1) by
    255. The grey value of an optical pixel is the mean of its channels.

    Attributes:
        min_std: reject if the standard deviation of the optical grey levels is smaller.
        max_blank_fraction: reject if a larger share of pixels is blank in either view: all channels 0, or (with
            `no_data`) all equal to it.
        no_data: stored value that marks missing pixels besides 0.
        min_gradient_fraction: reject if a smaller share of optical pixels has a strong gradient.
        strong_gradient: from how many grey levels per pixel (central differences, Euclidean norm) a gradient is strong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_std: float | None = Field(default=None, gt=0)
    max_blank_fraction: float | None = Field(default=None, ge=0, lt=1)
    no_data: float | None = None
    min_gradient_fraction: float | None = Field(default=None, gt=0, le=1)
    strong_gradient: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _each_does_something(self) -> RejectCriteria:
        """Refuse what belongs to a criterion that is off: it would change nothing but the key."""
        if self.strong_gradient != 8.0 and self.min_gradient_fraction is None:
            raise ValueError("strong_gradient is of min_gradient_fraction, which is off; give both or neither")
        if self.no_data is not None and self.max_blank_fraction is None:
            raise ValueError("no_data is of max_blank_fraction, which is off; give both or neither")
        return self

    @property
    def active(self) -> bool:
        """Whether any criterion is on."""
        return any(value is not None for value in (self.min_std, self.max_blank_fraction, self.min_gradient_fraction))


def window_grid(height: int, width: int, patch_px: int, overlap_px: int) -> list[Window]:
    """Return the windows (y0, x0, patch_px, patch_px) of a scene, row by row from the top-left corner, `patch_px -
    overlap_px` apart.

    A strip at the right and the bottom that holds no whole window stays unused; a scene smaller than a patch has none.
    """
    stride = patch_px - overlap_px
    rows = range(0, height - patch_px + 1, stride)
    columns = range(0, width - patch_px + 1, stride)
    return [(y0, x0, patch_px, patch_px) for y0 in rows for x0 in columns]


def left_out_line(
    left_out: Mapping[str, Sequence[int]], most: int | None = None, by: Mapping[str, int] | None = None
) -> str:
    """Return what `Dataset.left_out` says in one line, "" where nothing is left out; of more than `most` scenes the
    first; `by`: rule -> windows that it rejects (`Dataset.left_out_by`).
    """
    if not left_out:
        return ""
    gone, every = (sum(pair[place] for pair in left_out.values()) for place in (0, 1))
    each = [f"{scene} {lost} of {count}" for scene, (lost, count) in left_out.items()]
    more = f", and {len(each) - most} more scenes" if most is not None and len(each) > most else ""
    rules = "; by " + ", ".join(f"{rule} {count}" for rule, count in by.items()) if by else ""
    return f"{gone} of the {every} windows of {len(each)} scenes are left out: {', '.join(each[:most])}{more}{rules}"


def read_window(image: np.ndarray, window: Window) -> np.ndarray:
    """Return the view of `image` (H, W[, C]) inside `window`."""
    y0, x0, height, width = window
    return image[y0 : y0 + height, x0 : x0 + width]


def rejection(optical: np.ndarray, sar: np.ndarray, criteria: RejectCriteria) -> tuple[str, float] | None:
    """Return the first criterion that rejects a pair of patches and the measured value, None if it is accepted.

    Args:
        optical: (h, w, 3) patch. sar: (h, w) patch.

    Raises:
        BenchError: a float optical patch outside 0..1 meets a criterion on grey levels.
    """
    if criteria.max_blank_fraction is not None:
        blank = max(_blank_fraction(optical, criteria.no_data), _blank_fraction(sar, criteria.no_data))
        if blank > criteria.max_blank_fraction:
            return "max_blank_fraction", blank
    if criteria.min_std is None and criteria.min_gradient_fraction is None:
        return None
    grey = _grey_levels(optical)
    if criteria.min_std is not None:
        deviation = float(grey.std())
        if deviation < criteria.min_std:
            return "min_std", deviation
    if criteria.min_gradient_fraction is not None:
        along_y, along_x = np.gradient(grey)
        strong = float((np.hypot(along_y, along_x) >= criteria.strong_gradient).mean())
        if strong < criteria.min_gradient_fraction:
            return "min_gradient_fraction", strong
    return None


def _blank_fraction(patch: np.ndarray, no_data: float | None) -> float:
    channels = patch.reshape(*patch.shape[:2], -1)
    blank = (channels == 0).all(axis=2)
    if no_data is not None:
        blank |= (channels == no_data).all(axis=2)
    return float(blank.mean())


def _grey_levels(optical: np.ndarray) -> np.ndarray:
    grey: np.ndarray = optical.mean(axis=2, dtype=np.float64)
    if optical.dtype.kind == "u":
        return grey * (255.0 / float(np.iinfo(optical.dtype).max))
    if optical.min() < 0 or optical.max() > 1:
        raise BenchError(
            "min_std and min_gradient_fraction need integer optical images, or floats in 0..1; rescale the files"
        )
    return grey * 255.0

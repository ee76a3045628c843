"""A choice that may tell of the need: shoppers draw from it, and whoever filters for the need weighs by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

NO_NEED = -1
"""The index of no need: the last of N + 1 columns."""


class Choices:
    """K options: for `share` of the cases weighed by the need, own f64[K, N]; else, and without one, stray f64[K].

    Weights are scaled to sum to 1; a need without a weight of its own always strays. A draw takes the same two random
    numbers at every share, so that two worlds which differ in nothing but the share differ in nothing but the choice.

    >>> page = Choices(("help", "home"), np.array([[3.0], [1.0]]), np.array([1.0, 1.0]), share=0.5)
    >>> page.likelihood("help").tolist(), page.likelihood("cart").tolist()
    ([0.625, 0.5], [0.0, 0.0])
    """

    def __init__(self, options: Sequence[str], own: F64, stray: F64, share: float = 1.0) -> None:
        if stray.sum() <= 0:
            raise ValueError(f"found no weight for {list(options)[:3]}...; expected a positive one")
        mass = own.sum(axis=0)
        told = np.where(mass > 0, own / np.where(mass > 0, mass, 1.0), 0.0)
        usual = stray / stray.sum()
        self.options = tuple(options)
        self._share = np.append(np.where(mass > 0, share, 0.0), 0.0)
        self._chance = np.column_stack([told, usual]) * self._share + usual[:, None] * (1 - self._share)
        self._own = np.ascontiguousarray(np.cumsum(told, axis=0).T)
        self._stray = np.cumsum(usual)
        self._place = {option: row for row, option in enumerate(self.options)}
        self._nothing = np.zeros(own.shape[1] + 1)

    def draw(self, need: int, rng: np.random.Generator) -> str:
        """What somebody with this need (an index, or `NO_NEED`) chooses."""
        tells, drawn = rng.random(2)
        rising = self._own[need] if tells < self._share[need] else self._stray
        return self.options[min(int(np.searchsorted(rising, drawn * rising[-1], "right")), len(rising) - 1)]

    def likelihood(self, option: str) -> F64:
        """The chance of an option for every need and for none, f64[N + 1]; 0 for one that nobody chooses."""
        row = self._place.get(option)
        return self._nothing if row is None else np.asarray(self._chance[row])

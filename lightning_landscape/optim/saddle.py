"""The bilinear saddle: what simultaneous, alternating and predicted gradient steps do to it, exactly."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_landscape.errors import GeometryError

Steps = Literal["simultaneous", "alternating", "prediction"]

STABLE_BELOW: Final[dict[str, float]] = {"simultaneous": 0.0, "alternating": 4.0, "prediction": 4 / 3}
"""The least s from which on the iteration diverges."""


def iteration_matrix(steps: Steps, s: float) -> NDArray[np.float64]:
    r"""The linear map of one iteration on :math:`\min_u \max_v \sigma u v` with the steps alpha of u and beta of v.

    Only :math:`s = \alpha \beta \sigma^2` matters; the map is written for :math:`\alpha \sigma = \beta \sigma = \sqrt
    s`. u steps first. v then sees the old u ("simultaneous"), the new one ("alternating"), or its prediction :math:`2
    u_{\text{new}} - u_{\text{old}}` ("prediction").

    Args:
        steps: the order of the steps.
        s: product of both step sizes and the squared slope of the saddle.

    Returns:
        ``[2, 2]``, to be applied to (u, v).

    Raises:
        GeometryError: for unknown steps, or an s that is not positive.

    Example:
        >>> iteration_matrix("prediction", 1.0) @ iteration_matrix("prediction", 1.0)  # exact after two iterations
        array([[0., 0.],
               [0., 0.]])
    """
    if steps not in get_args(Steps):
        raise GeometryError(f"steps={steps!r} is unknown: choose one of {', '.join(get_args(Steps))}")
    if s <= 0:
        raise GeometryError(f"s={s}: give a product of step sizes above 0")
    a = float(np.sqrt(s))
    seen = {"simultaneous": (1.0, 0.0), "alternating": (1.0, -a), "prediction": (1.0, -2 * a)}[steps]
    return np.array([[1.0, -a], [a * seen[0], 1.0 + a * seen[1]]])


def modulus(steps: Steps, s: ArrayLike) -> NDArray[np.float64]:
    r"""The largest modulus of the eigenvalues of `iteration_matrix`: the factor of an iteration in the long run.

    Simultaneous steps have :math:`\sqrt{1 + s}` and diverge always. Alternating steps have 1 for s up to 4: they
    circle. Prediction has :math:`\sqrt{1 - s}` for s up to 1, and stays below 1 up to 4/3: it converges, in a smaller
    range.

    Args:
        steps: the order of the steps.
        s: products of step sizes, of any shape.

    Returns:
        The moduli, of the same shape.

    Example:
        >>> modulus("prediction", [0.19, 0.75]).round(6).tolist()
        [0.9, 0.5]
    """
    values = np.asarray(s, dtype=np.float64)
    matrices = np.array([iteration_matrix(steps, float(value)) for value in values.ravel()])
    moduli: NDArray[np.float64] = np.abs(np.linalg.eigvals(matrices)).max(-1)
    return moduli.reshape(values.shape)

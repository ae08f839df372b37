r"""Curvature against batch size: what random matrix theory predicts for the Hessian of a batch.

The Hessian of a batch of B examples is modelled as that of the whole data set plus symmetric noise,

.. math:: H_B = H + N, \qquad \operatorname{var} N_{ij} = s^2 / b, \qquad b = \frac{B}{1 - B / n}

with P rows and n examples in the data set. The noise alone has a spectrum of radius :math:`2 s \sqrt{P / b}`; it pushes
an eigenvalue of H outwards, or swallows it.

Source: Granziol, Zohren, Roberts, *Learning Rates as a Function of Batch Size*, arXiv 2006.09092; Benaych-Georges and
Nadakuditi, Advances in Mathematics 227 (2011), for the largest eigenvalues of perturbed random matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_landscape.errors import CurvatureError
from lightning_landscape.sampling.estimators import Estimate


def effective_batch(batch: int, examples: int) -> float:
    r"""Correct a batch size for a finite data set, :math:`b = B / (1 - B/n)`: the whole data set has no noise.

    Args:
        batch: B.
        examples: n.

    >>> effective_batch(50, 100), effective_batch(100, 100)
    (100.0, inf)
    """
    return math.inf if batch >= examples else batch / (1 - batch / examples)


def noise_radius(variance: float, rows: float, batch: float) -> float:
    r"""Half the radius of the noise's spectrum, :math:`s \sqrt{P / b}`: what an eigenvalue must exceed to be seen.

    Args:
        variance: :math:`s^2`.
        rows: P.
        batch: b.

    >>> noise_radius(4.0, 900, 100)
    6.0
    """
    return math.sqrt(variance * rows / batch)


def batch_eigenvalue(eigenvalue: float, radius: float) -> float:
    r"""Predict the extreme eigenvalue of a batch's Hessian from that of the whole data set.

    .. math:: \lambda' = \begin{cases} \lambda + r^2 / \lambda & |\lambda| > r \\
              2 r \operatorname{sign} \lambda & \text{otherwise} \end{cases} \qquad r = s \sqrt{P / b}

    Args:
        eigenvalue: the largest or the smallest eigenvalue of H.
        radius: r, from `noise_radius`.

    >>> [round(batch_eigenvalue(value, 1.0), 3) for value in (3.0, 1.5, 0.5, -2.0)]
    [3.333, 2.167, 2.0, -2.5]
    """
    if abs(eigenvalue) > radius:
        return eigenvalue + radius**2 / eigenvalue
    return math.copysign(2 * radius, eigenvalue)


def eigenvector_overlap(eigenvalue: float, radius: float) -> float:
    r"""Squared cosine between an eigenvector of the batch's Hessian and of the whole, :math:`1 - r^2 / \lambda^2`.

    Args:
        eigenvalue: of H, at one end of its spectrum.
        radius: r, from `noise_radius`.

    >>> [round(eigenvector_overlap(value, 1.0), 2) for value in (3.0, 1.5, 0.5)]
    [0.89, 0.56, 0.0]
    """
    return max(1 - (radius / eigenvalue) ** 2, 0.0) if eigenvalue else 0.0


def gauss_newton_batch_eigenvalue(eigenvalue: float, ratio: float, noise: float = 1.0) -> float:
    r"""Predict the largest eigenvalue of a batch's Gauss-Newton matrix, a mean of outer products.

    .. math:: \ell' = \begin{cases} \ell \left(1 + \frac{q}{\ell - 1}\right) & \ell > 1 + \sqrt q \\
              (1 + \sqrt q)^2 & \text{otherwise} \end{cases} \qquad q = P / B

    in units of the eigenvalue that the many small directions share (spiked covariance: Baik, Ben Arous and Peche,
    Annals of Probability 33, 2005).

    Args:
        eigenvalue: of the whole data set's matrix.
        ratio: q.
        noise: the unit, the eigenvalue of the small directions.

    >>> gauss_newton_batch_eigenvalue(3.0, 0.5), gauss_newton_batch_eigenvalue(1.0, 0.25)
    (3.75, 2.25)
    """
    spike = eigenvalue / noise
    if spike > 1 + math.sqrt(ratio):
        return noise * spike * (1 + ratio / (spike - 1))
    return noise * (1 + math.sqrt(ratio)) ** 2


def largest_stable_rate(eigenvalue: float, momentum: float = 0.0) -> float:
    r"""The learning rate above which gradient descent on a quadratic diverges, :math:`2 (1 + m) / \lambda`.

    Args:
        eigenvalue: the largest one.
        momentum: m, of heavy-ball momentum.

    >>> largest_stable_rate(4.0), largest_stable_rate(4.0, momentum=0.5)
    (0.5, 0.75)
    """
    return 2 * (1 + momentum) / eigenvalue if eigenvalue > 0 else math.inf


def largest_stable_adaptive_rate(eigenvalue: float, gradient_square: float, parameters: int) -> float:
    r"""The same for a method that divides by the root of the mean square of its gradients, as Adam does.

    .. math:: \frac{2}{\lambda'} \sqrt{\frac{\lVert g_B \rVert^2}{P}}

    with one divisor in place of one for each parameter. In a small batch :math:`\lVert g_B \rVert^2 \sim 1/B` and
    :math:`\lambda' \sim 1/B`, so that the rate grows as :math:`\sqrt B`, where that of gradient descent grows as B.

    Args:
        eigenvalue: the largest one of the batch's Hessian.
        gradient_square: the mean of :math:`\lVert g_B \rVert^2` over batches.
        parameters: P.

    >>> largest_stable_adaptive_rate(4.0, 36.0, 4)
    1.5
    """
    return largest_stable_rate(eigenvalue) * math.sqrt(gradient_square / parameters)


def batch_gradient_square(gradient_square: float, example_variance: float, batch: float) -> float:
    r"""The mean of :math:`\lVert g_B \rVert^2`, :math:`\lVert g \rVert^2 + v / b`.

    Args:
        gradient_square: :math:`\lVert g \rVert^2` of the whole data set.
        example_variance: v, the sum over parameters of the variance between the gradients of examples.
        batch: b.

    >>> batch_gradient_square(1.0, 8.0, 4.0)
    3.0
    """
    return gradient_square + example_variance / batch


def noise_variance(products: Iterable[Tensor], batch: int) -> Estimate:
    r"""Estimate the variance of the Hessian's entries between examples, :math:`s^2`, from products of batches.

    For a random vector v of signs, :math:`E \lVert (H_B - H) v \rVert^2 = \lVert H_B - H \rVert_F^2 = P^2 s^2 / B`, so
    that with the products of K disjoint batches and their mean

    .. math:: s^2 = \frac{B}{P^2} \frac{1}{K - 1} \sum_k \lVert H_k v - \bar H v \rVert^2

    averaged over the vectors.

    Args:
        products: for each vector v, the products of the batches with it, ``[K, P]``.
        batch: B, the examples in each batch.

    Returns:
        The variance and its standard error over the vectors.

    Raises:
        CurvatureError: if there are fewer than two batches.
    """
    values = []
    for found in products:
        if len(found) < 2:
            raise CurvatureError(f"a variance between batches needs at least 2 batches, found {len(found)}")
        spread = (found - found.mean(0)).double().square().sum() / (len(found) - 1)
        values.append(batch / found.shape[1] ** 2 * float(spread))
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean, float("nan"))
    return Estimate(mean, float(torch.tensor(values, dtype=torch.float64).std()) / math.sqrt(len(values)))

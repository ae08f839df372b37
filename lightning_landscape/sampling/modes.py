"""How well samples cover a mixture of Gaussians, and how a classifier judges generated images."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_landscape.errors import GeometryError


def mode_coverage(samples: Tensor, modes: Tensor, radius: float = 0.1, share: float | None = None) -> dict[str, Tensor]:
    r"""Count the modes that samples cover, and the samples that lie at a mode.

    A sample is good if it lies within ``radius`` of some mode; a mode is covered if at least ``share`` of all samples
    lie within ``radius`` of it. The default, 0.08 / K for K modes, is 1 % for the usual ring of 8: a twelfth of what a
    mode should get.

    Args:
        samples: ``[N, 2]``, or ``[N, runs, 2]`` for several models side by side. Other dimensions than 2 work as well.
        modes: centres ``[K, 2]``.
        radius: in the units of the samples.
        share: of the samples, in (0, 1].

    Returns:
        "modes_covered", a number from 0 to K; "good_samples", a share in [0, 1]; "distance", the median distance of a
        sample to its nearest mode. Scalars, or ``[runs]``.

    Raises:
        GeometryError: if samples and modes differ in their dimension, or there are no samples.

    Example:
        >>> modes = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> samples = torch.tensor([[0.05, 0.0], [0.0, 0.0], [0.5, 0.0], [0.0, 0.09]])
        >>> {name: round(value.item(), 3) for name, value in mode_coverage(samples, modes).items()}
        {'modes_covered': 1.0, 'good_samples': 0.75, 'distance': 0.05}
    """
    if samples.shape[-1] != modes.shape[-1] or not len(samples):
        raise GeometryError(
            f"samples {list(samples.shape)} cannot be compared with modes {list(modes.shape)}: give at least one "
            "sample, of the dimension of the modes"
        )
    # By differences: by products, the distances of near points would be lost in rounding.
    distances = torch.cdist(samples.flatten(0, -2), modes.to(samples), compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances.view(*samples.shape[:-1], len(modes))
    near = distances <= radius
    needed = 0.08 / len(modes) if share is None else share
    nearest = distances.amin(-1)
    return {
        "modes_covered": (near.float().mean(0) >= needed).sum(-1).float(),
        "good_samples": near.any(-1).float().mean(0),
        "distance": nearest.median(0).values,
    }


def classifier_score(logits: Tensor) -> dict[str, Tensor]:
    r"""Judge images by what a classifier sees in them.

    .. math:: \exp \, E_x \, \mathrm{KL}(p(y \mid x) \,\Vert\, E_x \, p(y \mid x))

    It is 1 where all images look alike to the classifier, and K where each is surely of one of K classes, all equally
    often. The formula is the inception score's (Salimans et al. 2016); the values depend on the classifier and cannot
    be compared with that score, which is defined by the Inception network alone.

    Args:
        logits: of the classifier for the images ``[N, K]``.

    Returns:
        "classifier_score", in [1, K], and "classes_covered", the number of classes that at least 1 % of the images are
        assigned to. Scalars.

    Example:
        >>> sure = 100 * torch.eye(4)
        >>> {name: value.item() for name, value in classifier_score(sure).items()}
        {'classifier_score': 4.0, 'classes_covered': 4.0}
        >>> classifier_score(torch.zeros(5, 4))["classifier_score"].item()
        1.0
    """
    conditional = logits.double().log_softmax(1)
    marginal = conditional.exp().mean(0)
    divergence = (conditional.exp() * (conditional - marginal.log())).nansum(1)
    assigned = torch.bincount(logits.argmax(1), minlength=logits.shape[1]) / len(logits)
    return {"classifier_score": divergence.mean().exp(), "classes_covered": (assigned >= 0.01).sum().double()}

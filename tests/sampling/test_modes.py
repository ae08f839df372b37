"""Coverage of constructed samples, and the classifier's score of constructed logits."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_landscape.data.ring import ring_modes
from lightning_landscape.errors import GeometryError
from lightning_landscape.sampling.modes import classifier_score, mode_coverage


def test_coverage_of_samples_of_some_of_the_modes() -> None:
    """1,000 samples: three modes with enough, one with too few, and 200 in the middle."""
    modes = ring_modes(8, 1.0)
    parts = [(0, 400), (1, 380), (2, 11), (3, 9)]
    samples = torch.cat([modes[m] + 0.05 * torch.ones(2) / 2**0.5 for m, count in parts for _ in range(count)])
    samples = torch.cat([samples.view(-1, 2), torch.zeros(200, 2)])
    found = mode_coverage(samples, modes)
    assert found["modes_covered"] == 3
    assert found["good_samples"] == pytest.approx(0.8)
    assert found["distance"] == pytest.approx(0.05, rel=1e-5)
    assert mode_coverage(samples, modes, radius=0.04)["good_samples"] == 0
    assert mode_coverage(samples, modes, share=0.009)["modes_covered"] == 4


def test_of_100_modes_a_fair_sample_covers_all() -> None:
    torch.manual_seed(0)
    modes = ring_modes(100, 24.0)
    samples = modes[torch.randint(100, (2500,))] + 0.01 * torch.randn(2500, 2)
    found = mode_coverage(samples, modes)
    assert found["modes_covered"] == 100
    assert found["good_samples"] == 1


def test_runs_side_by_side_are_measured_by_themselves() -> None:
    torch.manual_seed(0)
    modes = ring_modes(8, 1.0)
    samples = torch.stack([modes[torch.randint(k, (300,))] for k in (1, 5, 8)], 1)
    assert mode_coverage(samples, modes)["modes_covered"].tolist() == [1, 5, 8]
    for name, value in mode_coverage(samples, modes).items():
        assert value[1] == mode_coverage(samples[:, 1], modes)[name]


def test_samples_that_are_not_numbers_are_no_good() -> None:
    found = mode_coverage(torch.full((10, 2), torch.nan), ring_modes(8, 1.0))
    assert found["good_samples"] == 0
    assert found["modes_covered"] == 0


@pytest.mark.parametrize("samples", [torch.zeros(5, 3), torch.zeros(0, 2)])
def test_samples_that_do_not_fit_are_refused(samples: torch.Tensor) -> None:
    with pytest.raises(GeometryError, match="cannot be compared"):
        mode_coverage(samples, ring_modes(8, 1.0))


def test_score_of_a_classifier_in_closed_form() -> None:
    """Three classes equally often, each seen with probability 0.8: exp of the mutual information."""
    p = torch.full((3, 3), 0.1, dtype=torch.float64)
    p.fill_diagonal_(0.8)
    information = math.log(3) + 0.8 * math.log(0.8) + 0.2 * math.log(0.1)
    assert classifier_score(p.log())["classifier_score"].item() == pytest.approx(math.exp(information))
    assert classifier_score(p.log().expand(3, 3)[:1].expand(50, 3))["classifier_score"].item() == pytest.approx(1)


def test_classes_that_are_covered() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([0] * 150 + [1] * 2 + [2] * 1), 5).float() * 50
    assert classifier_score(logits)["classes_covered"] == 2

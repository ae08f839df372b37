"""Images in memory: augmentation, normalisation, splits, and the loaders."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lightning_landscape.data import ImageDataModule, Images
from lightning_landscape.data.images import collate, crop_and_flip, pixel_statistics
from lightning_landscape.data.splits import Batch, Split, hold_out
from lightning_landscape.errors import ObjectiveError


class Numbered(ImageDataModule):
    """Forty constant images; image i has value i in both channels, and label i."""

    def __init__(self, augment: bool = False, val: int = 4, **statistics: list[float] | None) -> None:
        statistics = {"mean": [0.0, 0.0], "std": [1.0, 1.0]} | statistics
        super().__init__(scale=1, batch_size=8, evaluation_batch_size=16, augment=augment, **statistics)
        self.val = val
        self.reads = 0

    def read(self) -> dict[Split, Batch]:
        self.reads += 1
        labels = torch.arange(40)
        pixels = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 6, 5)
        train, val = hold_out(pixels[:30], labels[:30], self.val, seed=0)
        return {"train": train, "val": val, "test": (pixels[30:], labels[30:])}


def test_each_augmented_image_is_a_shifted_window_of_it_or_of_its_mirror_image() -> None:
    torch.manual_seed(0)
    images = torch.randint(1, 256, (300, 3, 6, 5), dtype=torch.uint8)
    augmented = crop_and_flip(images, padding=2)
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    seen = set()
    for window, full in zip(augmented, padded, strict=True):
        places = [
            (top, left, mirrored)
            for top in range(5)
            for left in range(5)
            for mirrored in (False, True)
            if torch.equal(window.flip(2) if mirrored else window, full[:, top : top + 6, left : left + 5])
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 50  # each of the 5 x 5 x 2 outcomes: P(one is missing) < 50 * (49 / 50)^300 = 0.12, seed fixed


def test_augmentation_follows_the_global_seed() -> None:
    images = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    torch.manual_seed(3)
    first = crop_and_flip(images)
    second = crop_and_flip(images)
    torch.manual_seed(3)
    assert torch.equal(first, crop_and_flip(images))
    assert not torch.equal(first, second)


def test_hold_out_is_disjoint_complete_in_order_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    labels = torch.arange(50)
    (_, rest), (pixels, held) = hold_out(labels[:, None], labels, 12, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted([*rest.tolist(), *held.tolist()]) == labels.tolist()
    assert len(held) == 12
    assert torch.equal(pixels[:, 0], held)
    assert torch.equal(held, held.sort().values)
    assert torch.equal(hold_out(labels, labels, 12, seed=7)[1][1], held)
    assert not torch.equal(hold_out(labels, labels, 12, seed=8)[1][1], held)


@pytest.mark.parametrize("size", [-1, 10])
def test_hold_out_refuses_a_part_that_leaves_nothing(size: int) -> None:
    with pytest.raises(ObjectiveError, match=f"cannot hold out {size} of 10"):
        hold_out(torch.zeros(10), torch.zeros(10), size, seed=0)


def test_pixel_statistics_are_those_of_the_scaled_pixels() -> None:
    pixels = torch.randint(256, (40, 3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    scaled = pixels.double() / 255
    mean, std = pixel_statistics(pixels, 255)
    assert mean == pytest.approx(scaled.mean(dim=(0, 2, 3)).tolist(), abs=1e-12)
    assert std == pytest.approx(scaled.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_images_are_normalised_by_channel() -> None:
    pixels = torch.randint(256, (4, 2, 3, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = Images(pixels, torch.arange(4), 255, mean=[0.25, 0.5], std=[0.5, 2.0])
    batch, labels = images.__getitems__([3, 1])
    expected = (pixels[[3, 1]] / 255 - torch.tensor([0.25, 0.5])[:, None, None]) / torch.tensor([0.5, 2])[:, None, None]
    torch.testing.assert_close(batch, expected)
    assert labels.tolist() == [3, 1]
    assert batch.dtype == torch.float32
    torch.testing.assert_close(images[3][0], batch[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["mean", "std"])
def test_statistics_for_another_number_of_channels_are_refused(name: str) -> None:
    statistics = {"mean": [0.0], "std": [1.0], name: [1.0] * 3}
    with pytest.raises(ObjectiveError, match=f"{name} has 3 values and the images 1 channels"):
        Images(torch.zeros(2, 1, 2, 2), torch.zeros(2), 255, **statistics)


def test_training_is_shuffled_complete_and_seeded() -> None:
    data = Numbered()
    expected = data.images("train").labels.tolist()

    def epoch(seed: int) -> list[int]:
        torch.manual_seed(seed)
        return [label for _, labels in data.train_dataloader() for label in labels.tolist()]

    assert sorted(epoch(0)) == expected
    assert epoch(0) == epoch(0) != epoch(1)
    assert epoch(0) != expected


def test_evaluation_is_in_order_and_never_augmented() -> None:
    data = Numbered(augment=True)
    for split, count in (("train", 26), ("val", 4), ("test", 10)):
        batches = list(data.evaluation_dataloader(split))
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        assert len(labels) == count
        assert torch.equal(labels, data.images(split).labels)
        assert torch.equal(images, labels.view(-1, 1, 1, 1).expand_as(images).float())


@pytest.mark.parametrize("augment", [True, False])
def test_training_is_augmented_only_if_asked_for(augment: bool) -> None:
    """Constant images tell whether they were shifted: zeros come in from the border."""
    torch.manual_seed(0)
    shifted = [
        bool((image == 0).any())
        for batch, numbers in Numbered(augment=augment).train_dataloader()
        for image, number in zip(batch, numbers, strict=True)
        if number > 0
    ]
    assert any(shifted) == augment


def test_the_splits_are_read_once() -> None:
    data = Numbered()
    data.setup("fit")
    data.setup("test")
    data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert data.reads == 1


def test_no_validation_images_means_no_validation_loader() -> None:
    data = Numbered(val=0)
    assert data.val_dataloader() == []
    with pytest.raises(ObjectiveError, match="the val split holds no examples"):
        data.evaluation_dataloader("val")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ObjectiveError, match="no split 'valid': choose from train, val, test"):
        Numbered().evaluation_dataloader("valid")  # type: ignore[arg-type]


def test_missing_statistics_are_measured_on_the_training_images_alone() -> None:
    data = Numbered(mean=None, std=None)
    images = data.images("train")
    everything, _ = images.__getitems__(list(range(len(images))))
    assert everything.mean().item() == pytest.approx(0, abs=1e-6)
    assert everything.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert data.images("test")[0][0].mean() > 1  # the test images are brighter, and were not looked at


def test_one_given_statistic_is_kept() -> None:
    images = Numbered(mean=[2.0, 2.0], std=None).images("train")
    everything, _ = images.__getitems__(list(range(len(images))))
    labels = images.labels.double()
    assert everything.mean().item() == pytest.approx(
        (labels.mean() - 2).item() / labels.std(correction=0).item(), abs=1e-6
    )


@pytest.mark.parametrize("wrap", [lambda d: Subset(d, [3, 5, 1]), lambda d: ConcatDataset([Subset(d, [3, 5, 1])])])
def test_wrapped_data_sets_give_the_same_batches(wrap: object) -> None:
    """A Subset asks for whole batches, a ConcatDataset for one image after the other."""
    images = Numbered().images("test")
    batch, labels = next(iter(DataLoader(wrap(images), batch_size=3, collate_fn=collate)))
    assert labels.tolist() == [33, 35, 31]
    torch.testing.assert_close(batch[:, 0, 0, 0], labels.float())


def test_a_data_module_must_say_where_its_images_are() -> None:
    data = ImageDataModule(scale=1, mean=None, std=None, batch_size=1, evaluation_batch_size=1)
    with pytest.raises(NotImplementedError, match="does not define read"):
        data.setup()

"""What a figure says in words: axes with their units, and how far to trust what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from lightning_landscape.figures import style
from lightning_landscape.figures.channels import Gaps, centre_index, drawn_values, gaps, quantity_of, split_of
from lightning_landscape.figures.scale import number
from lightning_landscape.records.measures import initial_loss
from lightning_landscape.records.surface import Surface

_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


def axis_label(surface: Surface, axis: Literal["x", "y"], *, short: bool = False) -> str:
    """Name an axis and say what its unit is.

    Args:
        surface: the record; its attributes `kind`, `normalize`, `direction_norms` and `explained_variance` are used
            where they are there.
        axis: "x" or "y".
        short: leave the unit out, for small panels.

    Returns:
        The label.
    """
    index = 0 if axis == "x" else 1
    kind = str(surface.attrs.get("kind", ""))
    length = _entry(surface, "direction_norms", index)
    if kind == "principal":
        share = _entry(surface, "explained_variance", index)
        order = "first" if index == 0 else "second"
        name = f"{order} principal direction"
        if short:
            return name
        held = "" if share is None else f" ({percent(share)} of variance)"
        return f"{name}{held}: {_distance(length)}"
    if kind == "between":
        if short:
            return "position between the two networks"
        apart = "" if length is None else f"; they are {number(length)} apart"
        return f"position on the line between two networks (0 = first, 1 = second{apart})"
    if kind == "through":
        name = "from the first network to the second" if index == 0 else "at right angles, towards the third"
        return name if short else f"{name}: {_distance(length)}"
    name = "step along the direction" if surface.dim == 1 else f"step along {axis}"
    if short:
        return name
    unit = {
        "filter": "the norm of the weights, filter by filter",
        "layer": "the norm of the weights, layer by layer",
        "weight": "the size of each weight",
    }.get(str(surface.attrs.get("normalize", "")))
    if unit is None and length is not None:
        unit = f"{number(length)} in weight space"
    return f"{name} (1 = {unit})" if unit else name


def unit_notes(surface: Surface) -> list[str]:
    """The unit of the axes as a sentence, for figures whose labels have no room for it."""
    full, short = axis_label(surface, "x"), axis_label(surface, "x", short=True)
    unit = full.removeprefix(short).rpartition(": ")[2].strip(" ()")
    return [f"on the axes {unit}" if unit.startswith("1 =") else f"on the axes: {unit}"] if unit else []


def title_of(surface: Surface, *channels: str) -> str:
    """A title: the record's own, or what is drawn over the kind of slice.

    Args:
        surface: the record.
        channels: what is drawn of it; a single one is named with the data that it was measured on.

    Returns:
        One line.
    """
    own = str(surface.attrs.get("title", "") or "")
    if own:
        return own
    quantities = list(dict.fromkeys(quantity_of(c) for c in channels))
    splits = {split_of(c) for c in channels}
    name = quantities[0] if len(quantities) == 1 else f"{', '.join(quantities[:-1])} and {quantities[-1]}"
    if len(splits) == 1 and (split := splits.pop()) and split != name:
        name = f"{_SPLIT_NAMES[split]} {name}"
    kind = str(surface.attrs.get("kind", ""))
    places = {
        ("random", 1): "along a random direction",
        ("random", 2): "over a random plane",
        ("principal", 2): "over the plane of the trajectory's principal directions",
        ("principal", 1): "along the trajectory's principal direction",
        ("between", 1): "between two networks",
        ("through", 2): "over the plane through three networks",
    }
    place = places.get((kind, surface.dim), "along a line" if surface.dim == 1 else "over a plane")
    return f"{name[:1].upper()}{name[1:]} {place}"


def title_of_several(surfaces: Mapping[str, Surface], channels: Sequence[str]) -> str:
    """A title for surfaces side by side: the one that all of them have, or the quantity and their names.

    Args:
        surfaces: name -> record.
        channels: the channel drawn, one a surface.

    Returns:
        One line.
    """
    titles = {title_of(surface, channel) for surface, channel in zip(surfaces.values(), channels, strict=True)}
    if len(titles) == 1:
        return titles.pop()
    names = list(surfaces)
    quantities = {quantity_of(channel) for channel in channels}
    name = quantities.pop() if len(quantities) == 1 else "loss"
    return f"{name[:1].upper()}{name[1:]}: {', '.join(names[:-1])} and {names[-1]}"


def origin_name(surface: Surface) -> str:
    """What lies at the origin of a slice."""
    return {
        "principal": "final weights",
        "between": "first network",
        "through": "first network",
    }.get(str(surface.attrs.get("kind", "")), "trained weights")


def statements(surface: Surface, channel: str) -> dict[str, str]:
    """What is known about a surface's accuracy and slice, topic by topic.

    Topics that the record says nothing about are missing.

    Args:
        surface: the record.
        channel: the channel that is drawn.

    Returns:
        Topic -> words.
    """
    attrs = surface.attrs
    found = {
        "examples": _examples(attrs),
        "centre": _centre(surface, channel),
        "slice": _slice(surface),
        "cosine": _cosine(surface),
        "residual": _residual(surface),
        "initial": _initial(surface, channel),
        "batch norm": _statistics(surface),
        "weights": f"weights {str(attrs['weights_sha256'])[:8]}" if attrs.get("weights_sha256") else "",
        "gaps": gap_words(gaps(surface, channel)),
    }
    return {topic: words for topic, words in found.items() if words}


def caption(surfaces: Mapping[str, Surface], channels: Sequence[str], notes: Sequence[str] = ()) -> str:
    """The lines under a figure: statements that all its surfaces share once, the others surface by surface.

    Args:
        surfaces: name -> record; a single one's name is not written.
        channels: the channel drawn, one a surface.
        notes: further sentences about the drawing.

    Returns:
        Lines, unbroken.
    """
    each = {n: statements(s, c) for (n, s), c in zip(surfaces.items(), channels, strict=True)}
    topics = list(dict.fromkeys(t for s in each.values() for t in s))
    shared, lines = [], []
    for topic in topics:
        words = [s.get(topic, "") for s in each.values()]
        if len(set(words)) == 1:
            shared.append(words[0])
        elif topic == "weights":
            continue  # different networks, as their names say
        else:
            lines.append("; ".join(f"{n}: {w}" for n, w in zip(each, words, strict=True) if w))
    return "\n".join([" · ".join([*shared, *notes]), *lines] if shared or notes else lines)


def gap_words(found: Gaps) -> str:
    """How many points a figure leaves out and why; empty where there is none."""
    words = []
    total = found.any.size
    if found.not_finite.any():
        words.append(f"{int(found.not_finite.sum())} of {total} points not finite")
    if found.not_computed.any():
        words.append(f"{int(found.not_computed.sum())} of {total} points not computed")
    return ", ".join(words)


def gap_handles(found: Gaps) -> list[Patch]:
    """Legend entries for the cells that are left out."""
    handles = []
    if found.not_finite.any():
        handles.append(
            Patch(facecolor=style.GAP, edgecolor=style.GAP_HATCH, hatch="////", linewidth=0, label="not finite")
        )
    if found.not_computed.any():
        handles.append(Patch(facecolor=style.GAP, linewidth=0, label="not computed"))
    return handles


def percent(share: float) -> str:
    """A share in percent.

    Examples:
        >>> percent(0.734), percent(0.0342), percent(1.0)
        ('73 %', '3.4 %', '100 %')
    """
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.2g} %"


def _entry(surface: Surface, key: str, index: int) -> float | None:
    values: Any = surface.attrs.get(key)
    try:
        value = float(np.ravel(np.asarray(values, dtype=np.float64))[index])
    except (TypeError, ValueError, IndexError):
        return None
    return value if np.isfinite(value) else None


def _distance(length: float | None) -> str:
    if length is None or abs(length - 1) < 1e-3:
        return "distance in weight space"
    return f"step (1 = {number(length)} in weight space)"


def _examples(attrs: Mapping[str, Any]) -> str:
    used, total = attrs.get("examples"), attrs.get("dataset_size")
    subset, nodes = attrs.get("subset_examples"), attrs.get("coarse_points")
    if used is not None and subset is not None and nodes is not None:
        of = "" if total is None else f" of {int(total):,}"
        return f"{int(subset):,}{of} examples, corrected by {int(used):,} at {' x '.join(map(str, nodes))} points"
    if not isinstance(used, (int, float, np.integer)):
        return ""
    if not isinstance(total, (int, float, np.integer)):
        return f"{int(used):,} examples"
    if used >= total:
        return f"all {int(total):,} examples"
    return f"{int(used):,} of {int(total):,} examples"


def _centre(surface: Surface, channel: str) -> str:
    index = centre_index(surface)
    values = drawn_values(surface, channel)
    errors = _errors(surface, channel)
    own, median = 0.0, 0.0  # as for all examples
    if errors is not None:
        own = 0.0 if index is None else float(errors[index])
        median = float(np.median(errors[np.isfinite(errors)]))
    over_grid = f"standard error {number(median, 2)} (median over the grid)" if median > 0 else ""
    if index is None or not np.isfinite(values[index]):
        return over_grid
    place = "first network" if surface.attrs.get("kind") in {"between", "through"} else "centre"
    words = f"{channel} at the {place} {number(float(values[index]))}"
    if own > 0:
        return f"{words} ± {number(own, 2)} (standard error; median over the grid {number(median, 2)})"
    return f"{words}, {over_grid}" if over_grid else words


def _errors(surface: Surface, channel: str) -> NDArray[np.float64] | None:
    """The standard errors where there are any finite ones."""
    if channel not in surface.errors:
        return None
    errors = np.array(surface.errors[channel], dtype=np.float64)
    errors[~np.asarray(surface.done, dtype=bool)] = np.nan
    return errors if np.isfinite(errors).any() else None


def _slice(surface: Surface) -> str:
    attrs = surface.attrs
    words = []
    kind = str(attrs.get("kind", "") or "")
    if kind == "random":
        normalize = str(attrs.get("normalize", "") or "")
        how = f", {normalize}-normalised" if normalize in {"filter", "layer", "weight"} else ""
        seed = f", seed {attrs['seed']}" if attrs.get("seed") is not None and attrs.get("seed") != "" else ""
        words.append(f"random direction{'s' if surface.dim == 2 else ''}{how}{seed}")
    shares = [s for s in (_entry(surface, "explained_variance", i) for i in range(surface.dim)) if s is not None]
    if len(shares) == 2:
        words.append(
            f"the plane holds {percent(shares[0])} + {percent(shares[1])} = {percent(sum(shares))} of the variance"
        )
    elif shares:
        words.append(f"the line holds {percent(shares[0])} of the variance")
    return ", ".join(words)


def _cosine(surface: Surface) -> str:
    cosine = surface.attrs.get("direction_cosine")
    drawn = surface.attrs.get("kind") not in {"principal", "through"}  # those are orthogonal by construction
    if drawn and surface.dim == 2 and isinstance(cosine, (int, float, np.floating)) and np.isfinite(cosine):
        return f"|cos| of the directions {number(abs(float(cosine)), 2)}"
    return ""


def _initial(surface: Surface, channel: str) -> str:
    before = initial_loss(surface, channel)
    return "" if before is None else f"loss before training {number(before, 3)}"


def _statistics(surface: Surface) -> str:
    mode = surface.attrs.get("batch_norm", "none")
    return "" if mode == "none" else f"BatchNorm statistics: {mode}"


def _residual(surface: Surface) -> str:
    path = surface.path
    if path is None or not len(path.residual) or not np.isfinite(path.residual).any():
        return ""
    worst = int(np.nanargmax(path.residual))
    off = number(float(path.residual[worst]), 3)
    words = f"checkpoints lie up to {off} off the {'line' if surface.dim == 1 else 'plane'}"
    distance = float(path.distance_from_origin[worst])
    if distance > 0:
        words += f", {percent(float(path.residual[worst]) / distance)} of that one's distance {number(distance, 3)}"
    return words

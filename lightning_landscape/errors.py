"""The errors of the package: each message names what was wrong, what was found and what to do."""


class LandscapeError(Exception):
    """Base of every error that this package raises on purpose."""


class GeometryError(LandscapeError, ValueError):
    """Weights, directions or a grid do not fit together or are out of range."""


class ObjectiveError(LandscapeError, ValueError):
    """The step or the data cannot be evaluated: no loss, no examples, or a step that needs a choice by the user."""


class RecordError(LandscapeError, ValueError):
    """A record cannot be read or written: a corrupt file, a missing dataset, a folder without permission."""


class RecordMismatchError(RecordError):
    """A record was made from other weights, another slice, grid or sample than those at hand."""


class UnsupportedStrategyError(LandscapeError, RuntimeError):
    """The Trainer's strategy or precision places weights in a way that cannot be evaluated faithfully."""


class QuantizationError(LandscapeError, ValueError):
    """A grid of weights, or what is to be put on one, is out of range."""


class PredictionError(LandscapeError, RuntimeError):
    """A look-ahead or a training step was asked for at a moment at which it has no meaning."""

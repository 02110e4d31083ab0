"""Every exception the package raises on purpose.

One base class, so that callers can catch everything of ours with one clause; every subclass also inherits the
standard class it specialises, so that generic handlers keep working. A message names the thing, what was expected,
what came, and what to do. Add a class only when a caller would want to treat it differently.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConceptSegError",
    "ConfigError",
    "HubAccessError",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "ResourceError",
    "SampleError",
    "TrainingError",
]


class ConceptSegError(Exception):
    """Base class of all errors raised by `conceptseg`."""


class InputError(ConceptSegError, ValueError):
    """The request itself is wrong: an argument, a file name, a shape. Nothing was computed."""


class ImageError(InputError):
    """An image or mask cannot be read, or is not one."""


class SampleError(InputError):
    """A `ConceptSample` or its on-disk form is inconsistent."""


class ConfigError(InputError):
    """A configuration has unknown, missing or wrong keys; the message lists all of them."""


class CheckpointError(ConceptSegError, ValueError):
    """A checkpoint is incomplete, of an unknown format, or of another architecture."""


class HubAccessError(ConceptSegError, OSError):
    """A hub file cannot be had: no network, no access to a gated repository, no such repository."""


class MissingExtraError(ConceptSegError, ImportError):
    """An optional dependency is needed; the message names the extra to install."""


class ResourceError(ConceptSegError, RuntimeError):
    """The machine cannot do it: memory, disk or device."""


class TrainingError(ConceptSegError, RuntimeError):
    """Training cannot start or cannot go on (bad data, NaN loss, no space)."""

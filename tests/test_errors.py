from __future__ import annotations

import inspect

import pytest

from conceptseg import errors
from conceptseg.errors import ConceptSegError

CLASSES = [getattr(errors, name) for name in errors.__all__]
STANDARD_PARENTS = {
    "InputError": ValueError,
    "ImageError": ValueError,
    "SampleError": ValueError,
    "ConfigError": ValueError,
    "CheckpointError": ValueError,
    "HubAccessError": OSError,
    "MissingExtraError": ImportError,
    "ResourceError": RuntimeError,
    "TrainingError": RuntimeError,
}


def test_all_errors_are_exported():
    defined = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_is_caught_by_our_base_and_by_its_standard_parent(error: type[Exception]):
    for parent in (ConceptSegError, STANDARD_PARENTS.get(error.__name__, Exception)):
        with pytest.raises(parent, match=r"^what went wrong$"):
            raise error("what went wrong")


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_can_be_raised_again_with_more_context(error: type[Exception]):
    """`load_sample` and others rebuild an error of the same class around its message."""
    assert str(type(error("a"))("Sample 1: a")) == "Sample 1: a"

"""What holds for all tests: types and shapes are checked at run time, and property tests do the same every time."""

from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

install_import_hook("conceptseg", "tests.check_types")  # jaxtyping and beartype, on every signature of the package

settings.register_profile(
    "same everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same everywhere")  # a busy machine must not fail a property

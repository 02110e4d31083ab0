"""Shapes and types in every signature of the package are checked at run time while testing (jaxtyping, beartype)."""

from jaxtyping import install_import_hook

install_import_hook("conceptseg", "tests.check_types")

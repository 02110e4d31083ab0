"""The tests mirror the package. Here is the type checker that `conftest.py` puts on every function of the package."""

from beartype import BeartypeConf, beartype

check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""beartype, which takes an int where a float is asked for, as every static checker does."""

"""How the bundled checkpoint `nano` is made; `python -m conceptseg.training.nano --help`."""

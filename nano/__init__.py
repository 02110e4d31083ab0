"""How the bundled checkpoint `nano` is made, and what it shows; `python -m nano --help`, from the repository's root."""

"""What a server is told when it starts: limits, the token, the folders it may read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from conceptseg.errors import InputError

__all__ = ["ServerOptions"]


@dataclass(frozen=True)
class ServerOptions:
    """Limits and doors of the server.

    Raises:
        InputError: a limit is not above zero, the token is blank or no plain ASCII, or a folder does not exist.
    """

    places: int = 32
    """Requests that are worked on or wait; a further one is answered 429."""
    batch_size: int = 8
    """Pictures that the model looks at together."""
    time_limit_s: float = 100.0
    """A request that takes longer is answered 504; Label Studio waits for 100 s."""
    learning_limit_s: float = 1800.0
    """The same for learning a rule, one at a time."""
    drain_limit_s: float = 120.0
    """How long a server that is told to stop waits for what is in flight."""
    max_body_bytes: int = 64 << 20
    """Larger bodies are answered 413, before they are read where they say so."""
    max_pixels: int = 40_000_000
    """Width × height of all pictures and masks of a request together."""
    max_references: int = 16
    """References of a question; a rule is learned from at most `max_learned_references`."""
    max_learned_references: int = 256
    """References and absent pictures that a rule may be learned from."""
    max_tasks: int = 64
    """Label Studio tasks in a request."""
    token: str | None = None
    """Requests must bring it; None lets everyone in."""
    media_root: Path | None = None
    """Label Studio's uploads, for tasks that name them; None refuses such tasks."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not value > 0:
                raise InputError(f"{name} must be above 0, got {value!r}.")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise InputError("The token must be printable ASCII, not blank: it travels in a header.")
        if self.media_root is not None and not self.media_root.is_dir():
            raise InputError(f"The folder of uploads {str(self.media_root)!r} does not exist.")

"""The server as Ray Serve's ingress (extras `[server,ray]`): the same app, in as many replicas as there are GPUs.

    serve run conceptseg.interfaces.server.ray_serve:build model=nano rules=/shared/rules replicas=2

Every replica has a model, a queue and limits of its own. Rules are files of a folder that all replicas see. What Label
Studio's webhook tells is kept by the replica that is told: with more than one, learn rules instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, PositiveInt

from conceptseg.errors import MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["Arguments", "build", "make_app"]

_BESIDE = 16
"""Requests that Serve lets through besides those that have a place, so that the app itself refuses them."""


class Arguments(BaseModel):
    """What `serve run … KEY=VALUE` may say; the limits are those of `conceptseg serve`."""

    model_config = ConfigDict(extra="forbid")

    model: str = "nano"
    sam: str | None = None
    device: str = "auto"
    rules: Path | None = None
    """A folder that every replica sees; must exist."""
    token_file: Path | None = None
    """Requests must bring what this file holds."""
    replicas: PositiveInt = 1
    gpus: float = 0
    """Of each replica."""
    queue: PositiveInt = 32
    batch_size: PositiveInt = 8


def build(arguments: Arguments) -> Any:
    """The application for `serve run` and `serve deploy`.

    Raises:
        MissingExtraError: Ray Serve is not installed.
    """
    try:
        from ray import serve
    except ImportError:
        raise MissingExtraError("The ingress needs Ray Serve: pip install 'conceptseg[server,ray]'.") from None

    def app() -> FastAPI:
        """In the replica, where the model is."""
        return make_app(arguments)

    deployment = serve.deployment(
        name="conceptseg",
        num_replicas=arguments.replicas,
        max_ongoing_requests=arguments.queue + _BESIDE,
        ray_actor_options={"num_gpus": arguments.gpus},
    )
    return deployment(serve.ingress(app)()).bind()


def make_app(arguments: Arguments) -> FastAPI:
    """A replica's app, its model loaded and warm.

    Raises:
        CheckpointError: the model cannot be loaded.
        InputError: the folder of rules or a limit is none.
    """
    from conceptseg.inference import ConceptSegmenter
    from conceptseg.interfaces.server.app import create_app
    from conceptseg.interfaces.server.options import ServerOptions
    from conceptseg.interfaces.server.rules_store import RuleFolder
    from conceptseg.interfaces.server.serving import warm_up

    token = None if arguments.token_file is None else arguments.token_file.read_text(encoding="utf-8").strip()
    options = ServerOptions(places=arguments.queue, batch_size=arguments.batch_size, token=token)
    more = {} if arguments.sam is None else {"sam": arguments.sam}
    segmenter = ConceptSegmenter.from_pretrained(arguments.model, device=arguments.device, **more)
    rules = None if arguments.rules is None else RuleFolder(arguments.rules, segmenter)
    warm_up(segmenter)
    return create_app(segmenter, rules, options)

"""Pictures as the page brings them: files of the upload folder, read within the limits, and shown small."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from starlette.exceptions import HTTPException

from conceptseg.errors import ConceptSegError, ImageError, InputError
from conceptseg.images import ReadImage, load_mask
from conceptseg.interfaces.server.options import ServerOptions
from conceptseg.interfaces.server.pictures import PixelBudget

__all__ = ["FAILURES", "Uploads", "one_line", "shown_small", "tinted_layer", "to_url"]

FAILURES = (ConceptSegError, HTTPException)
"""What is told on the page in a line; the second is how the server's limits refuse."""

_DECODERS = 2
"""Pictures that are looked through for the page at once."""
_SHOWN_PX = 1280
"""The longer side of pictures on the page."""
_TINT = (255, 64, 64)


@dataclass(frozen=True)
class Uploads:
    """The files that the page may name, and how large they may be."""

    folders: Sequence[Path]
    """Where uploads and examples lie; nothing outside is read, whatever a request says."""
    options: ServerOptions = field(default_factory=ServerOptions)
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_DECODERS), repr=False)

    def content(self, path: str, name: str) -> bytes:
        """The bytes of an upload.

        Raises:
            ImageError: it is none, is gone, or is larger than an upload may be.
        """
        try:
            file = Path(path).resolve(strict=True)
            if not (file.is_file() and any(file.is_relative_to(folder.resolve()) for folder in self.folders)):
                raise ImageError(f"{name} is no upload of this page. Add it again.")
            size, most = file.stat().st_size, self.options.max_body_bytes
            if size > most:
                raise ImageError(f"{name} has {size / 2**20:.0f} MiB; a file may have {most / 2**20:.0f}. Shrink it.")
            return file.read_bytes()
        except (OSError, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"{name} is no longer there. Add it again.") from error

    def budget(self) -> PixelBudget:
        """What all pictures of one question may have together."""
        return PixelBudget(self.options.max_pixels)

    def read(self, path: str, name: str, budget: PixelBudget) -> ReadImage:
        """An upload as a picture.

        Raises:
            ImageError: it cannot be read.
            Refusal: it has more pixels than are left.
        """
        return budget.read(self.content(path, name), name)

    def preview(self, told: Any) -> dict[str, Any]:
        """A picture for the page to draw on: upright, small, with its true size; or the line that says what is wrong.

        Args:
            told: `{"path", "name", "mask"?}` of an upload, from the browser.

        Returns:
            `{"src", "width", "height", "notes", "mask"}`, pictures as data URLs, or `{"error"}`.
        """
        try:
            if not isinstance(told, dict):
                raise InputError("Expected a picture's path and name.")
            with self._turns:
                return self._preview(told, str(told.get("name") or "The picture")[:200])
        except FAILURES as error:
            return {"error": one_line(error)}

    def _preview(self, told: dict[str, Any], name: str) -> dict[str, Any]:
        read = self.read(str(told.get("path")), name, self.budget())
        mask = self._mask_layer(told, read.image, name) if told.get("mask") else None
        width, height = read.image.size
        small = to_url(shown_small(read.image), "JPEG")
        return {"src": small, "width": width, "height": height, "notes": list(read.notes), "mask": mask}

    def _mask_layer(self, told: dict[str, Any], image: Image.Image, name: str) -> str:
        mask = self.mask(str(told["mask"]), image, name)
        return to_url(tinted_layer(mask, shown_small(image).size), "PNG")

    def mask(self, path: str, image: Image.Image, name: str) -> Bool[np.ndarray, "h w"]:
        """A mask that lies beside an upload.

        Raises:
            ImageError: it cannot be read, or is not of the picture's size.
            Refusal: it has too many pixels.
        """
        content = self.content(path, f"The mask of {name}")
        self.budget().read(content, f"The mask of {name}")  # its own size is held against the limit first
        return load_mask(content, (image.height, image.width))


def one_line(error: Exception) -> str:
    """What an error says, in a line."""
    told = error.detail if isinstance(error, HTTPException) else error
    return " ".join(str(told).split())


def shown_small(image: Image.Image, side_px: int = _SHOWN_PX) -> Image.Image:
    """A picture no larger than the page shows it."""
    small = image.copy()
    small.thumbnail((side_px, side_px))
    return small


def tinted_layer(
    mask: Bool[np.ndarray, "h w"], size_wh: tuple[int, int], tint: tuple[int, int, int] = _TINT
) -> Image.Image:
    """A mask as a layer to lay over its picture: the tint where it is, half as strong as on its edge; nothing else."""
    small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size_wh)) > 127
    edge = small & ~_shrunk(small, 1 + max(size_wh) // 500)
    layer = np.zeros((*small.shape, 4), dtype=np.uint8)
    layer[small] = (*tint, 120)
    layer[edge] = (*tint, 255)
    return Image.fromarray(layer)


def _shrunk(mask: Bool[np.ndarray, "h w"], steps: int) -> Bool[np.ndarray, "h w"]:
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def to_url(image: Image.Image, kind: str) -> str:
    """A picture as a data URL, JPEG or PNG."""
    buffer = BytesIO()
    save: Callable[..., None] = image.save
    save(buffer, format=kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"

"""Draws stages: one `Studio` holds what is costly to make twice (resized sprites, texture tiles, noise)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from conceptseg.data.world.dice import between, chance, generator, pick
from conceptseg.data.world.palettes import random_palette
from conceptseg.data.world.shapes import shape_mask, shape_picture
from conceptseg.data.world.sprites import load_sprite, sprites_of
from conceptseg.data.world.stage import Backdrop, Finish, Look, Stage, TextureView, Thing
from conceptseg.data.world.textures import TILE_PX, VARIANTS, families_of, texture_tile
from conceptseg.errors import InputError
from conceptseg.images import load_image

__all__ = ["Rendered", "Studio"]

_TURNS = (None, *Image.Transpose)
_PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True, eq=False)
class Rendered:
    """A picture and whose pixel is whose."""

    image: UInt8[np.ndarray, "h w 3"]
    labels: UInt8[np.ndarray, "h w"]
    """0 = backdrop, k = the stage's thing number k - 1 (the front one where things overlap)."""

    def mask(self, *indices: int) -> Bool[np.ndarray, "h w"]:
        """Visible pixels of the things with these numbers (from 0)."""
        mask = np.zeros(self.labels.shape, dtype=bool)
        for index in indices:
            mask |= self.labels == index + 1
        return mask


class Studio:
    """The sprites, textures and photographs of one split, and the means to draw with them.

    Args:
        split: which sprites and textures random choices are made from.
        backgrounds: a folder of photographs to stand behind half of the scenes; None for textures only.
        cache_entries: how many resized sprites are kept.

    Raises:
        InputError: the split is unknown, or `backgrounds` holds no pictures.
    """

    def __init__(self, split: str, backgrounds: Path | None = None, cache_entries: int = 4096) -> None:
        self.split = split
        self.sprites = {sprite.name: sprite for sprite in sprites_of(split)}
        self.common = tuple(sprite for sprite in self.sprites.values() if sprite.role == "common")
        self._photos = _list_photos(backgrounds) if backgrounds is not None else ()
        self._cache: OrderedDict[tuple[object, ...], Any] = OrderedDict()
        self._cache_entries = cache_entries

    def random_view(
        self, rng: np.random.Generator, surface: bool = False, contrast: float = 1.0, family: str | None = None
    ) -> TextureView:
        """A texture of the split, somewhere, somehow turned and coloured."""
        width = between(rng, 0.45, 0.9)
        return TextureView(
            family=family or pick(rng, families_of(self.split, surface)),
            variant=int(rng.integers(VARIANTS)),
            x=between(rng, 0, 1 - width),
            y=between(rng, 0, 1 - width),
            width=width,
            turn=int(rng.integers(len(_TURNS))),
            palette=random_palette(rng, contrast),
        )

    def random_backdrop(self, rng: np.random.Generator, contrast: float = 1.0) -> Backdrop:
        """One texture, two that meet (slanting in `unseen_test` only), or a photograph if there are any."""
        view = self.random_view(rng, surface=chance(rng, 0.25), contrast=contrast)
        if self._photos and chance(rng, 0.5):
            width = between(rng, 0.6, 1.0)
            box = (between(rng, 0, 1 - width), between(rng, 0, 1 - width), width)
            return Backdrop((view,), photo=(int(rng.integers(len(self._photos))), *box))
        if chance(rng, 0.7):
            return Backdrop((view,))
        left = between(rng, 0.3, 0.7)
        slant = 0.0 if self.split != "unseen_test" else between(rng, -0.4, 0.4)
        return Backdrop((view, self.random_view(rng, contrast=contrast)), edge=(left, left + slant))

    def texture(self, view: TextureView, side: int) -> Image.Image:
        """The view drawn in colour: RGB, `side` px square."""
        grey = self.grey_texture(view, side)
        grey.putpalette(view.palette)
        return grey.convert("RGB")

    def grey_texture(self, view: TextureView, side: int) -> Image.Image:
        """The view without its colours: mode L, `side` px square."""
        x, y, w = view.x * TILE_PX, view.y * TILE_PX, view.width * TILE_PX
        tile = texture_tile(view.family, view.variant)
        grey = tile.resize((side, side), Image.Resampling.BILINEAR, box=(x, y, x + w, y + w))
        turn = _TURNS[view.turn]
        return grey if turn is None else grey.transpose(turn)

    def backdrop(self, backdrop: Backdrop, side: int) -> Image.Image:
        """The backdrop alone: RGB, `side` px square."""
        if backdrop.photo is not None:
            return self._photo(*backdrop.photo, side)
        picture = self.texture(backdrop.views[0], side)
        if backdrop.edge is not None:
            left, right = (round(height * side) for height in backdrop.edge)
            below = Image.new("L", (side, side), 0)
            ImageDraw.Draw(below).polygon([(0, left), (side, right), (side, side), (0, side)], fill=255)
            picture.paste(self.texture(backdrop.views[1], side), (0, 0), below)
        return picture

    def layer(self, thing: Thing, side: int) -> Image.Image:
        """The thing alone in its final size, turn and colours: RGBA, as large as it needs."""
        layer = self._sized(thing.look, max(4, round(thing.size * side)))
        if thing.flip:
            layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if thing.look.tone is not None:
            layer = _toned(layer, thing.look.tone)
        if thing.look.badge is not None:
            layer = self._badged(layer, *thing.look.badge)
        if thing.view is not None:
            layer = _seen_aside(layer, *thing.view)
        if abs(thing.angle) >= 1:
            layer = layer.rotate(thing.angle, Image.Resampling.BILINEAR, expand=True)
        return layer

    def render(self, stage: Stage, side: int) -> Rendered:
        """The stage as a picture of `side` px, and its labels."""
        picture, labels = self.compose(stage, side)
        if stage.camera is not None:
            corners = [at * side for corner in stage.camera for at in corner]
            quad = Image.Transform.QUAD
            picture = picture.transform(picture.size, quad, corners, Image.Resampling.BILINEAR)
            labels = labels.transform(labels.size, quad, corners, Image.Resampling.NEAREST)
        return Rendered(self.finish(picture, stage.finish), np.asarray(labels))

    def compose(self, stage: Stage, side: int) -> tuple[Image.Image, Image.Image]:
        """The stage before light, blur and noise: RGB picture and L labels."""
        picture = self.backdrop(stage.backdrop, side)
        labels = Image.new("L", (side, side), 0)
        for number, thing in enumerate(stage.things, start=1):
            self.paste(picture, labels, thing, number)
        return picture, labels

    def paste(self, picture: Image.Image, labels: Image.Image, thing: Thing, number: int) -> None:
        """Draw a thing into a picture and its number into the labels, both in place."""
        side = picture.width
        layer = self.layer(thing, side)
        left, top = round(thing.x * side - layer.width / 2), round(thing.y * side - layer.height / 2)
        if thing.grounded:
            self._contact_shadow(picture, left, top, layer)
        alpha = layer.getchannel("A")
        picture.paste(layer, (left, top), alpha)
        labels.paste(number, (left, top), alpha.convert("1", dither=Image.Dither.NONE))

    def finish(self, picture: Image.Image, finish: Finish) -> UInt8[np.ndarray, "h w 3"]:
        """Light, blur, noise and compression on a composed picture."""
        side = picture.width
        if finish.light:
            light = Image.frombytes("L", (4, 4), finish.light).resize(picture.size, Image.Resampling.BICUBIC)
            picture = ImageChops.multiply(picture, Image.merge("RGB", (light,) * 3))
        if finish.blur:
            picture = picture.filter(ImageFilter.GaussianBlur(finish.blur * side))
        if finish.noise:
            noise = self.cached(("noise", finish.noise, side), lambda: _noise(finish.noise, side))
            left, top = (int(at * (noise.width - side)) for at in finish.noise_at)
            patch = noise.crop((left, top, left + side, top + side))
            picture = ImageChops.add(picture, patch, 1.0, -128)
        if finish.jpeg:
            buffer = BytesIO()
            picture.save(buffer, "JPEG", quality=finish.jpeg)
            picture = Image.open(buffer).convert("RGB")
        return np.array(picture)

    def cached(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """The value kept under `key`, made first if it is not there; the least recently used ones are dropped."""
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        value = self._cache[key] = make()
        if len(self._cache) > self._cache_entries:
            self._cache.popitem(last=False)
        return value

    def _sized(self, look: Look, longer_px: int) -> Image.Image:
        """The look resized; sizes are rounded to about 4 % so that the cache hits."""
        step = max(1, longer_px // 12)
        longer_px = (longer_px + step // 2) // step * step
        key = (look.name, look.colour, look.pattern, longer_px)
        return self.cached(key, lambda: _resized(self._master(look), longer_px))

    def _master(self, look: Look) -> Image.Image:
        if look.colour is not None:
            return shape_picture(look.name, look.colour, look.pattern)
        return self.cached((look.name,), lambda: load_sprite(self.sprites[look.name]))

    def _badged(self, layer: Image.Image, shape: str, colour: str) -> Image.Image:
        """The layer with a badge on its middle, where it has a surface."""
        badge = self._sized(Look(shape, colour), max(6, min(layer.size) * 2 // 5))
        left, top = (layer.width - badge.width) // 2, (layer.height - badge.height) // 2
        alpha = layer.getchannel("A")
        surface = alpha.crop((left, top, left + badge.width, top + badge.height))
        badged = layer.convert("RGB")
        badged.paste(badge.convert("RGB"), (left, top), ImageChops.multiply(badge.getchannel("A"), surface))
        badged.putalpha(alpha)
        return badged

    def _photo(self, number: int, x: float, y: float, width: float, side: int) -> Image.Image:
        photo = self.cached(("photo", number), lambda: _shrunk_photo(self._photos[number]))
        short = min(photo.size)
        left, top = x * short, y * short
        box = (left, top, left + width * short, top + width * short)
        return photo.resize((side, side), Image.Resampling.BILINEAR, box=box)

    def _contact_shadow(self, picture: Image.Image, left: int, top: int, layer: Image.Image) -> None:
        width, height = max(4, layer.width // 4 * 4), max(4, layer.height // 5)
        blob = self.cached(("blob", width, height), lambda: _soft_blob().resize((width, height)))
        picture.paste(0, (left, top + layer.height - height * 3 // 5), blob)


def _resized(master: Image.Image, longer_px: int) -> Image.Image:
    scale = longer_px / max(master.size)
    size = (max(1, round(master.width * scale)), max(1, round(master.height * scale)))
    return master.resize(size, Image.Resampling.BICUBIC)


def _seen_aside(layer: Image.Image, width: float, lean: float) -> Image.Image:
    """The layer narrowed, its right edge shorter by `lean` (its left edge by -`lean`)."""
    w, h = max(3, round(layer.width * width)), layer.height
    left, right = max(0.0, -lean) * h, max(0.0, lean) * h
    # A source taller than the layer at an edge makes that edge shorter.
    corners = (0, -left, 0, h + left, layer.width, h + right, layer.width, -right)
    return layer.transform((w, h), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)


def _toned(layer: Image.Image, tone: tuple[float, ...]) -> Image.Image:
    toned = layer.convert("RGB").convert("RGB", tone)
    toned.putalpha(layer.getchannel("A"))
    return toned


@lru_cache(maxsize=1)
def _soft_blob() -> Image.Image:
    blob = Image.new("L", (32, 32), 0)
    blob.paste(shape_mask("circle").resize((22, 22)), (5, 5))
    return blob.filter(ImageFilter.GaussianBlur(3)).point(lambda v: v * 0.5)


def _noise(sigma: float, side: int) -> Image.Image:
    values = generator("noise", sigma, side).normal(128.0, sigma, (side * 3 // 2, side * 3 // 2, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _list_photos(folder: Path) -> tuple[Path, ...]:
    photos = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PHOTO_SUFFIXES))
    if not photos:
        raise InputError(f"No photographs (jpg, png, webp) in the backgrounds folder {folder}.")
    return photos


def _shrunk_photo(path: Path) -> Image.Image:
    photo = load_image(path)
    scale = min(1.0, 256 / min(photo.size))
    return photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))

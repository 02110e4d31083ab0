"""What comes back for an image: the mask, and why."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from conceptseg.data.fingerprints import fingerprint_picture
from conceptseg.errors import InputError, MissingExtraError
from conceptseg.files import replacing
from conceptseg.geometry import BoxXYXY, box_from_mask, mask_iou, pixel_corners
from conceptseg.inference.instances import DEFAULT_AGREEMENT, DEFAULT_SCORE, FoundObjects, Instance, check_score
from conceptseg.inference.router import Route, Router
from conceptseg.models.calibration import Signals
from conceptseg.naming import check_stem, distinct_stem, stem_of
from conceptseg.protocol import Response
from conceptseg.shapes import to_coco_rle

__all__ = ["SegmentationResult"]

_TINT = (255, 64, 64)
_HALF = 128  # how strongly the tint covers, of 255
_BOX_COLOUR = (255, 210, 0)
_PICTURES = (".mask.png", ".overlay.jpg")
_SAVING = threading.Lock()
"""Held while a result is saved: two threads may be saving the same one."""


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """One image's answer; where something could not be computed `error` says why and the mask is None."""

    concept: str
    """The concept in the caller's words, blanks put in order."""
    source: str = ""
    """The image's path, or a description of where it came from."""
    image: Image.Image | None = None
    """The picture as loaded (RGB, upright)."""
    mask: Bool[np.ndarray, "h w"] | None = None
    """True on the concept, at the image's own size."""
    route: Route | None = None
    """Which way the mask came about."""
    presence: float | None = None
    """SAM 3's presence score s in [0, 1]; None when SAM 3 was not asked."""
    threshold: float = 1.0
    """T of Eq. 9: the shortcut is taken from this presence on."""
    response: Response | None = None
    """The MLLM's response on the reasoned route: think, rule, check, box, answer."""
    box: BoxXYXY | None = None
    """The response's box, in this image's pixels."""
    check_iou: float | None = None
    """IoU (0…1) of the response's check with the withheld reference's true box: how far to trust the rule."""
    answer: str | None = None
    """The words SAM 3 was given: the response's answer, or the concept where there is none."""
    notes: tuple[str, ...] = ()
    """What the reader should know, e.g. that the response had no answer."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage (encode, screen, reason, decode); a batch's time is shared evenly."""
    error: str | None = None
    """Why there is no mask."""
    origin: Path | None = None
    """The picture's file, absolute; None where it came from memory. Tells results apart when they are saved."""
    confidence: float | None = None
    """The IoU (0…1) to expect of the mask as it was drawn, if the concept is in the picture."""
    calibrated: bool = False
    """Whether `confidence` comes from the checkpoint's own calibration, or is merely the mean of `signals`."""
    found: bool | None = None
    """Whether the concept is in the picture. Known only where the checkpoint is calibrated or a rule has learned it;
    the mask is then empty where it is not. Otherwise it tells whether there is a mask."""
    signals: Signals | None = None
    """What `confidence` was made of."""
    expected_iou: float | None = None
    """The IoU to expect of masks of the learned rule that was applied, from references that it did not see."""
    objects: FoundObjects | None = None
    """What `instances` are made of."""
    router: Router | None = None
    """Who chose the route: Eq. 9, or the checkpoint's calibrated router; None where it was asked for."""
    objects_above: float | None = None
    """The score from which on objects make up the mask, where it is their union and not the semantic head's."""

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The single objects of the concept (mask, box, score), the best first, from a score of 0.5 on.

        SAM 3's own, under the prompt that drew the mask; the mask is the semantic head's and need not be their union.
        """
        return self.instances_above(DEFAULT_SCORE)

    def instances_above(self, score: float) -> tuple[Instance, ...]:
        """The single objects from another score on; below 0.05 none are known.

        Raises:
            InputError: the score does not lie in 0…1.
        """
        check_score(score)
        return self.objects.above(score, self.mask.shape) if self.objects is not None and self.mask is not None else ()

    @property
    def rule(self) -> str | None:
        """The induced rule in words."""
        return self.response.rule if self.response else None

    def overlay(self) -> Image.Image:
        """The picture with the mask tinted red, its outline, and the response's box in yellow.

        Raises:
            InputError: the result holds an error.
        """
        image, mask = self._picture()
        strength = mask * np.uint8(_HALF)
        strength[mask & ~_eroded(mask)] = 255
        picture = image.copy()
        picture.paste(_TINT, mask=Image.fromarray(strength))
        if self.box is not None:
            inside, width = pixel_corners(self.box), max(1, image.width // 200)
            ImageDraw.Draw(picture).rectangle(inside, outline=_BOX_COLOUR, width=width)
        return picture

    def mask_image(self) -> Image.Image:
        """The mask as a one-channel picture, 0 or 255.

        Raises:
            InputError: the result holds an error.
        """
        return Image.fromarray(self._picture()[1].astype(np.uint8) * 255)

    def save(self, folder: str | Path, stem: str | None = None) -> Path:
        """Write `<stem>.mask.png`, `<stem>.overlay.jpg` and `<stem>.json` and return the mask's path.

        Without a `stem` no other result's files are replaced: the image file's own stem ("result" where there is no
        file) is taken where it is free or was this result's before, else one with a digest. A result was there before
        if it is of the same file (by its path; of a picture in memory, by its pixels) and the same concept: saving it
        again, in this process or a later one, replaces its files. The `.json` says whose they are.

        Files appear whole or not at all.

        Args:
            folder: created if needed.
            stem: the files' common name; whatever has this name is replaced.

        Raises:
            InputError: the result holds an error, `folder` is a file, or `stem` is no plain file name.
        """
        self._picture()
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder, which need not exist yet.")
        folder.mkdir(parents=True, exist_ok=True)
        with _SAVING:
            return self._save_as(folder, check_stem(stem)) if stem else self._save_apart(folder)

    def save_pictures(self, folder: str | Path, stem: str) -> Path:
        """Write `<stem>.mask.png` and `<stem>.overlay.jpg` alone; otherwise like `save` with a stem."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mask, overlay = (folder / f"{stem}{suffix}" for suffix in _PICTURES)
        with replacing(overlay) as fresh:
            self.overlay().save(fresh, quality=90)
        with replacing(mask) as fresh:
            self.mask_image().save(fresh)
        return mask

    def _save_apart(self, folder: Path) -> Path:
        """Save under a name that is nobody else's; it is claimed by its `.json`, which goes again should this fail."""
        claimed: list[Path] = []

        def is_free(stem: str) -> bool:
            note = folder / f"{stem}.json"
            try:
                if not note.exists() and any((folder / f"{stem}{suffix}").exists() for suffix in _PICTURES):
                    return False
                with note.open("xb") as file:
                    file.write(self._note())
            except FileExistsError:
                return _owner_of(note) == self._identity
            claimed.append(note)
            return True

        is_file = self.source and not self.source.startswith("<")
        stem = distinct_stem(stem_of(self.source) if is_file else "result", self._identity.encode(), is_free)
        try:
            return self._save_as(folder, stem)
        except BaseException:
            for note in claimed:
                note.unlink(missing_ok=True)
            raise

    def _save_as(self, folder: Path, stem: str) -> Path:
        mask = self.save_pictures(folder, stem)
        with replacing(folder / f"{stem}.json") as fresh:
            fresh.write_bytes(self._note())
        return mask

    def _note(self) -> bytes:
        """The content of `<stem>.json`; what UTF-8 cannot hold, such as parts of odd file names, as JSON's escapes."""
        told = json.dumps(self.to_dict() | {"identity": self._identity}, ensure_ascii=False, indent=2)
        return told.encode("utf-8", "backslashreplace")

    @cached_property
    def _identity(self) -> str:
        """A digest of what makes this result another one than its neighbours: whose picture, which concept."""
        of = str(self.origin) if self.origin is not None else fingerprint_picture(self._picture()[0])
        return hashlib.sha256(f"{of}\0{self.concept}".encode("utf-8", "surrogatepass")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, JSON-ready."""
        return {
            "source": self.source,
            "concept": self.concept,
            "error": self.error,
            "route": self.route.value if self.route else None,
            "presence": self.presence,
            "threshold": self.threshold,
            "router": self.router.value if self.router else None,
            "mask_from": "semantic" if self.objects_above is None else "instances",
            "think": self.response.think if self.response else None,
            "rule": self.rule,
            "check_iou": self.check_iou,
            "box": None if self.box is None else [round(value, 2) for value in self.box],
            "answer": self.answer,
            "response": self.response.text if self.response else None,
            "problems": [problem.name for problem in self.response.problems] if self.response else [],
            "notes": list(self.notes),
            "size_hw": None if self.mask is None else list(self.mask.shape),
            "area": None if self.mask is None else int(self.mask.sum()),
            "confidence": _rounded(self.confidence),
            "calibrated": self.calibrated,
            "found": self.found,
            "expected_iou": _rounded(self.expected_iou),
            "signals": {name: _rounded(value) for name, value in asdict(self.signals).items()}
            if self.signals
            else None,
            "timings": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
        }

    def to_coco_rle(self, *, compressed: bool = False) -> dict[str, Any]:
        """The mask as COCO RLE, column by column, zeros first: `{"size": [h, w], "counts": [...]}`.

        Args:
            compressed: `counts` is the text that pycocotools reads, instead of the list of run lengths.

        Raises:
            InputError: the result holds an error.
        """
        return to_coco_rle(self._picture()[1], compressed=compressed)

    def instances_to_dicts(self, score: float = DEFAULT_SCORE) -> list[dict[str, Any]]:
        """The single objects from a score on, JSON-ready: `box` (x1, y1, x2, y2), `score`, `area`, `rle` as above."""
        return [
            {
                "box": list(one.box),
                "score": round(one.score, 4),
                "area": int(one.mask.sum()),
                "rle": to_coco_rle(one.mask, compressed=False),
            }
            for one in self.instances_above(score)
        ]

    def to_supervision(self) -> Any:
        """`supervision.Detections`: the single objects with their scores where they make up the mask, else it as one.

        None at all where the mask is empty. Objects whose union has an IoU below 0.5 with the mask are not trusted: a
        checkpoint's instance head may be less trained than its semantic one (nano's is).

        Raises:
            MissingExtraError: the package supervision is not installed.
        """
        try:
            import supervision
        except ImportError:
            raise MissingExtraError("to_supervision() needs the package supervision: pip install supervision") from None
        box = box_from_mask(self._picture()[1])
        if box is None or self.mask is None:
            return supervision.Detections.empty()
        objects = self.instances
        if objects and mask_iou(np.any([one.mask for one in objects], axis=0), self.mask) >= DEFAULT_AGREEMENT:
            return supervision.Detections(
                xyxy=np.array([one.box for one in objects], dtype=np.float32),
                mask=np.stack([one.mask for one in objects]),
                confidence=np.array([one.score for one in objects], dtype=np.float32),
                data={"class_name": np.array([self.concept] * len(objects))},
            )
        return supervision.Detections(
            xyxy=np.array([box], dtype=np.float32), mask=self.mask[None], data={"class_name": np.array([self.concept])}
        )

    def _picture(self) -> tuple[Image.Image, Bool[np.ndarray, "h w"]]:
        if self.image is None or self.mask is None:
            raise InputError(f"{self.source or 'This result'} has no mask: {self.error or 'nothing was computed'}.")
        return self.image, self.mask


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _owner_of(note: Path) -> str | None:
    """The identity of the result that a `.json` belongs to; None where it is of no result."""
    try:
        told = json.loads(note.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return told.get("identity") if isinstance(told, dict) else None


def _eroded(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    padded = np.pad(mask, 1)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]

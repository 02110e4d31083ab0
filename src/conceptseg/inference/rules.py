"""A rule: what was learned of a concept from references, with what it is known to be worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydantic import ValidationError

from conceptseg import __version__
from conceptseg.data.loading import LoadedReference, marked_region, mask_with_ignore
from conceptseg.data.samples import Reference
from conceptseg.errors import InputError
from conceptseg.geometry import BoxXYXY, fill_box, round_box, scale_box
from conceptseg.images import resize_image, resize_mask
from conceptseg.inference.inputs import AppliedRule
from conceptseg.inference.router import Route
from conceptseg.inference.rule_files import PictureRecord, RulePixels, RuleRecord, read_rule_file, write_rule_file
from conceptseg.inference.rule_hub import find_rule_file, push_rule
from conceptseg.models.hub import Hub
from conceptseg.models.publishing import HubWriter
from conceptseg.validation import explain_mistakes

__all__ = ["Rule", "RulePicture", "interval_around", "keep_picture"]

FEW = 3
"""Below so many references that a rule was not shown, what they say of it is little."""
_QUANTILE = 1.645  # nine in ten


@dataclass(frozen=True, eq=False)
class RulePicture:
    """A reference as a rule keeps it: no larger than the model sees it."""

    image: Image.Image
    """RGB; each side is shrunk for itself where it is longer than what the model sees."""
    mask: Bool[np.ndarray, "h w"] | None
    """What is marked, at the size of `image`."""
    box: BoxXYXY | None
    """The same as a box, in the pixels of `image`."""
    size_hw: tuple[int, int]
    """The size of the picture it was made of."""
    name: str = ""
    """Where it came from, for people."""
    unlike: bool = False
    """Whether what is marked is not the concept."""
    ignore: Bool[np.ndarray, "h w"] | None = None
    """Where the mask says neither target nor background."""

    def as_reference(self) -> Reference:
        """To be shown to a model."""
        mask = mask_with_ignore(self.mask, self.ignore)
        return Reference(self.image, mask=mask, box=self.box, unlike=self.unlike)

    @property
    def region(self) -> Bool[np.ndarray, "h w"] | None:
        """What is marked: the mask, or all of the box; None where nothing is."""
        return marked_region(self.image, self.mask, self.box)

    def repeats(self, other: RulePicture) -> bool:
        """Whether both are the same picture with the same mark."""
        if self.unlike is not other.unlike or self.image.size != other.image.size:
            return False
        own, its = self.region, other.region
        if own is None or its is None or not np.array_equal(own, its):
            return False
        return self.image.tobytes() == other.image.tobytes()


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule that `ConceptSegmenter.learn` found, ready to be applied to any number of pictures, and to be saved."""

    concept: str
    """What it is about, in the user's words."""
    text: str
    """The rule in words, as the model put it; nothing on the direct route."""
    begun: str
    """The verified beginning of the response, `<think>` to `<check>`, from which box and answer are written."""
    pictures: tuple[RulePicture, ...]
    """All references it was learned from, in the caller's order."""
    supports: tuple[int, ...]
    """Places of those that are shown to the model, in the order of the mosaic; the first one's mark is withheld from
    the MLLM where there are two."""
    scores: tuple[float | None, ...]
    """For each reference the IoU that rules reach on it that were not shown it; of one that is unlike the concept the
    share of its mark that they keep clear of. None where none was tried."""
    expected_iou: float | None
    """The IoU to expect on a picture that was not seen; None where there was nothing to verify it on."""
    interval: tuple[float, float] | None
    """Where the expectation lies in nine of ten cases."""
    judged: int
    """References that `expected_iou` comes from."""
    suspects: tuple[int, ...]
    """Places of references that every rule disagrees with: a wrong label, or a wrong picture."""
    route: Route
    """Direct where SAM 3 alone verifies as well as the reasoning."""
    presence_threshold: float | None
    """From this presence on the concept is in a picture; None where nothing could be said of it."""
    confidence_shift: float
    """How much better or worse than they looked the masks of the withheld references were."""
    checkpoint: str
    """Digest of the checkpoint that learned it; to another it is a guess."""
    model: str = ""
    """That checkpoint's name."""
    notes: tuple[str, ...] = ()
    """What should be known of how it was learned."""
    calls: int = 0
    """Pictures that the model answered for it."""

    @property
    def proxy(self) -> int | None:
        """The place of the reference whose mark the MLLM has to find; None where all marks are shown."""
        marked = [place for place in self.supports if self.pictures[place].box is not None]
        return self.supports[0] if len(marked) > 1 and marked[0] == self.supports[0] else None

    @property
    def withheld(self) -> tuple[int, ...]:
        """Places of the references that the rule is not shown."""
        shown = {*self.supports, *self.unlike}
        return tuple(place for place in range(len(self.pictures)) if place not in shown)

    @property
    def unlike(self) -> tuple[int, ...]:
        """Places of the references that mark what the concept is not; all of them are shown."""
        return tuple(place for place, one in enumerate(self.pictures) if one.unlike)

    def references(self) -> tuple[Reference, ...]:
        """What is to be shown to a model: the supports, and what the concept is not."""
        unlike: list[RulePicture] = []
        for one in (self.pictures[place] for place in self.unlike):
            if one.region is not None and not any(one.repeats(other) for other in unlike):
                unlike.append(one)
        return tuple(one.as_reference() for one in (*(self.pictures[place] for place in self.supports), *unlike))

    def applied(self, checkpoint: str) -> AppliedRule:
        """What it adds to a question to a checkpoint of that digest."""
        notes = () if checkpoint == self.checkpoint else (self.warning,)
        return AppliedRule(self.begun, self.presence_threshold, self.expected_iou, self.confidence_shift, notes)

    @property
    def warning(self) -> str:
        """What is to be told where another checkpoint applies it."""
        return (
            f"The rule was learned by another checkpoint ({self.model or 'unnamed'}, {self.checkpoint[:8]}): what it "
            "is worth with this one was not measured. Learn it anew, or try it on references: conceptseg rule check."
        )

    def save(self, path: str | Path) -> Path:
        """Write the rule as one file, whole or not at all, and return its path.

        Raises:
            InputError: the folder does not exist, the path is one, or the rule is larger than a file holds.
        """
        pictures = tuple(
            PictureRecord(
                size_hw=one.size_hw,
                box=one.box,
                has_mask=one.mask is not None,
                name=one.name.encode("utf-8", "replace").decode(),
                score=score,
                unlike=one.unlike,
            )
            for one, score in zip(self.pictures, self.scores, strict=True)
        )
        plain = {name: getattr(self, name) for name in _STORED}
        try:
            record = RuleRecord(conceptseg=__version__, pictures=pictures, **plain)
        except ValidationError as error:
            told = "; ".join(explain_mistakes(error, RuleRecord))
            raise InputError(f"The rule cannot be kept in a file: {told}.") from error
        return write_rule_file(
            record, [RulePixels(one.image, one.mask, one.ignore) for one in self.pictures], Path(path)
        )

    @classmethod
    def load(cls, path: str | Path) -> Rule:
        """Read a rule's file.

        Raises:
            InputError: there is none, or it is not one of ours to the letter.
        """
        record, pixels = read_rule_file(Path(path))
        pictures = tuple(
            RulePicture(seen.image, seen.mask, told.box, told.size_hw, told.name, told.unlike, seen.ignore)
            for told, seen in zip(record.pictures, pixels, strict=True)
        )
        scores = tuple(told.score for told in record.pictures)
        return cls(pictures=pictures, scores=scores, **{name: getattr(record, name) for name in _STORED})

    @classmethod
    def from_pretrained(cls, source: str | Path, *, hub: Hub | None = None) -> Rule:
        """A rule from a file, a folder with one, or the Hugging Face hub (`owner/name`, `owner/name@revision`).

        Args:
            source: where it is.
            hub: where to ask; the Hugging Face hub by default.

        Raises:
            InputError: there is none, or its file is not one of ours to the letter.
            HubAccessError: the repository cannot be had.
        """
        return cls.load(find_rule_file(source, hub))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload a ConceptSeg rule",
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        token: str | None = None,
        api: HubWriter | None = None,
    ) -> str:
        """Upload the rule to the Hugging Face hub; `Rule.from_pretrained(repo_id)` gives it back.

        Its reference pictures go with it: whoever can read the repository sees them.

        Args:
            repo_id: `owner/name`; made if needed.
            commit_message: of the commit.
            private: whether a new repository is private; None leaves it to the owner's settings.
            revision: a branch, made if needed.
            create_pr: open a pull request instead of committing.
            token: of an account that may write there; None takes the one of `hf auth login`.
            api: where to write; the Hugging Face hub by default.

        Returns:
            The address of the commit or pull request.

        Raises:
            InputError: no name of a repository.
            HubAccessError: no login, no right to write, or no network.
        """
        how = {"commit_message": commit_message, "revision": revision, "create_pr": create_pr}
        return push_rule(self, repo_id, private=private, token=token, api=api, **how)

    def describe(self) -> str:
        """What it is worth, in a sentence."""
        if self.expected_iou is None or self.interval is None:
            return "Not verified: there was no reference that it was not shown."
        low, high = self.interval
        sure = f"Expected IoU {self.expected_iou:.2f} ({low:.2f}…{high:.2f})"
        told = f"{sure} from {self.judged} references it was not shown"
        return told + (f": few, so that this is a guess; give {FEW + 3} or more." if self.judged < FEW else ".")


def interval_around(scores: Sequence[float]) -> tuple[float, float]:
    """Where the mean of such scores lies in nine of ten cases.

    Wilson's interval, which takes an IoU for a share. It is on the safe side, for an IoU varies less than a coin, and
    is an interval for one score too.
    """
    n, mean, z = len(scores), sum(scores) / len(scores), _QUANTILE
    middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def keep_picture(loaded: LoadedReference, longest_px: int, name: str = "") -> RulePicture:
    """A reference as a rule keeps it.

    Args:
        loaded: as it was given.
        longest_px: what the model stretches pictures to; longer sides are shrunk to it, each for itself, which loses
            nothing of what the model sees.
        name: where it came from.
    """
    size_hw = (loaded.image.height, loaded.image.width)
    kept_hw = (min(size_hw[0], longest_px), min(size_hw[1], longest_px))
    if kept_hw == size_hw:
        return RulePicture(loaded.image, loaded.mask, loaded.box, size_hw, name, loaded.unlike, loaded.ignore)
    box = None if loaded.box is None else scale_box(loaded.box, size_hw, kept_hw)
    mask = None if loaded.mask is None else resize_mask(loaded.mask, kept_hw)
    if mask is not None and box is not None and not mask.any():  # too thin for any pixel to hit
        mask = fill_box(tuple(map(float, round_box(box))), kept_hw)  # type: ignore[arg-type]
    ignore = None
    if loaded.ignore is not None and mask is not None:
        ignore = resize_mask(loaded.ignore, kept_hw) & ~mask
    return RulePicture(resize_image(loaded.image, kept_hw), mask, box, size_hw, name, loaded.unlike, ignore)


_STORED = frozenset(field.name for field in fields(Rule)) - {"pictures", "scores"}
"""Fields that a file holds as they are."""

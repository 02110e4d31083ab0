"""From a sample to an episode: the prompt the model sees, and the truth it is measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from PIL import Image

from conceptseg.data.loading import LoadedReference, LoadedSample, load_reference, load_sample
from conceptseg.data.samples import ConceptSample, Reference
from conceptseg.errors import SampleError
from conceptseg.geometry import box_from_mask, scale_box
from conceptseg.models.conceptseg import ConceptSegModel
from conceptseg.models.reasoner import Prompt
from conceptseg.protocol import Mosaic, Response, parse_response
from conceptseg.training.rewards import Truth

__all__ = ["Episode", "EpisodeBuilder"]


@dataclass(frozen=True, eq=False)
class Episode:
    """One question with its truth, in memory."""

    sample: ConceptSample
    prompt: Prompt
    truth: Truth
    """True boxes, in the frame that the model sees."""
    image: Image.Image
    """The target picture at its own size."""
    mask: Bool[np.ndarray, "h w"]
    """The true mask, at the picture's size."""
    ignore: Bool[np.ndarray, "h w"]
    """Pixels that neither loss nor reward may count."""
    expects_rule: bool
    """Whether the prompt asks for a `<rule>`."""
    unit_px: float = 1.0
    """Pixels of the frame in one unit of the response's boxes."""
    references: tuple[Reference, ...] = ()
    """What it is shown with, as it is stored: a prior reads it again, and nothing is kept in memory for it."""
    draw: int = 0
    """Which of the draws of its references these are."""

    @property
    def id(self) -> str:
        """The sample's id."""
        return self.sample.id

    @property
    def key(self) -> tuple[str, int]:
        """Tells what is seen in it from what is seen in others: the sample's id and the draw of its references."""
        return self.sample.id, self.draw

    def read(self, text: str) -> Response:
        """A response to this episode's prompt, held against what it asked for."""
        return parse_response(
            text,
            expect_check=self.truth.check is not None,
            expect_rule=self.expects_rule,
            unit_px=self.unit_px,
        )

    def answer_of(self, response: Response) -> str:
        """What SAM 3 is told in words: the response's answer, or the concept's own words without one."""
        return response.words or self.sample.concept


class EpisodeBuilder:
    """Builds episodes for a model.

    Args:
        model: whose protocol the prompts follow.
        references_of: chooses a sample's references, given the sample and the number of the draw; None shows those it
            brings.
        withhold_proxy: whether one reference's box is kept back for verification (§3.2).
    """

    def __init__(
        self,
        model: ConceptSegModel,
        references_of: Callable[[ConceptSample, int], Sequence[Reference]] | None = None,
        *,
        withhold_proxy: bool = True,
    ) -> None:
        self._model = model
        self._references_of = references_of
        self._withhold_proxy = withhold_proxy

    def __call__(self, sample: ConceptSample, draw: int = 0) -> Episode:
        """The episode of a sample, shown with one of the draws of its references.

        Raises:
            ImageError: a picture or mask cannot be read, or they differ in size.
            SampleError: the sample has no mask or an empty one, or a reference's box lies outside its picture.
        """
        loaded = load_sample(_without_references(sample))
        references = tuple(self.references_of(sample, draw))
        episode = self.build(sample, loaded, [load_reference(reference) for reference in references])
        return replace(episode, references=references, draw=draw)

    def references_of(self, sample: ConceptSample, draw: int = 0) -> Sequence[Reference]:
        """The references that a sample is shown with."""
        return sample.references if self._references_of is None else self._references_of(sample, draw)

    def build(self, sample: ConceptSample, target: LoadedSample, references: Sequence[LoadedReference]) -> Episode:
        """The episode of a sample whose pictures are in memory already.

        Raises:
            SampleError: the sample has no mask, or an empty one.
        """
        if target.mask is None or target.ignore is None:
            raise SampleError(f"Sample {sample.id!r} has no mask to learn from.")
        box = box_from_mask(target.mask)
        if box is None:
            raise SampleError(f"Sample {sample.id!r}: the mask is empty, there is nothing to find.")
        protocol = self._model.config.protocol
        frame_hw = (protocol.frame_px, protocol.frame_px)
        mosaic = self._model.lay_out(references, proxy=self._withhold_proxy) if references else None
        # A template without meta reasoning shows the same mosaic, but does not ask for what was withheld.
        check = _withheld(mosaic) if protocol.expects_rule else None
        return Episode(
            sample=sample,
            prompt=self._model.build_prompt(sample.concept, target.image, mosaic),
            # A template without meta reasoning shows the same mosaic, but does not ask for what was withheld.
            truth=Truth(scale_box(box, target.mask.shape, frame_hw), check),
            image=target.image,
            mask=target.mask,
            ignore=target.ignore,
            expects_rule=protocol.expects_rule,
            unit_px=protocol.unit_px,
        )


def _withheld(mosaic: Mosaic | None) -> tuple[float, float, float, float] | None:
    return None if mosaic is None or mosaic.proxy_index is None else mosaic.boxes_xyxy[mosaic.proxy_index]


def _without_references(sample: ConceptSample) -> ConceptSample:
    """The sample with its target only: its references may be replaced, and need not be read then."""
    return replace(sample, references=())

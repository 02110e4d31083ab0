"""Stage (b), first half: the MLLM's vision tower names and boxes what every merged token shows.

Text alone teaches a small tower almost nothing. The heads are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from conceptseg.data.world import ConceptWorld
from conceptseg.data.world.shapes import colours_of, shapes_of
from conceptseg.models.reasoner import Reasoner
from nano.dense import CELLS_PER_SIDE, CellTargets, cell_loss, label_cells, merge_cells

__all__ = ["VisionData", "VisionItem", "VisionLearner"]

_TASK_SHARE = 0.35
_SHAPE_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class VisionItem:
    """A picture with what every patch of it shows."""

    image: UInt8[np.ndarray, "h w 3"]
    targets: CellTargets


class VisionData(Dataset[VisionItem]):
    """Scenes of objects or shapes, alone or four to a picture as in a mosaic, and of context-dependent targets."""

    def __init__(self, world: ConceptWorld, tasks: Sequence[str], *, seed: int, size_px: int, patches: int) -> None:
        self.world = world
        self.tasks = tuple(tasks)
        shapes = (f"{colour} {shape}" for colour in colours_of(world.split) for shape in shapes_of(world.split))
        self.classes = (*world.names, *self.tasks, *shapes)
        self.seed, self.size_px, self.patches = seed, size_px, patches

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> VisionItem:
        rng = np.random.default_rng([self.seed, 3, index])
        if rng.random() < 0.5:
            return self._one(index * 4, rng, self.patches)
        parts = [self._one(index * 4 + k, rng, self.patches // 2) for k in range(4)]
        half = self.size_px // 2
        small = [
            np.asarray(Image.fromarray(part.image).resize((half, half), Image.Resampling.BILINEAR)) for part in parts
        ]
        moved = [part.targets.boxes / 2 + np.array([k % 2, k // 2] * 2) / 2 for k, part in enumerate(parts)]
        labels = _tile([part.targets.labels for part in parts])
        return VisionItem(_tile(small), CellTargets(labels, _tile(moved).astype(np.float32)))

    def _one(self, index: int, rng: np.random.Generator, side: int) -> VisionItem:
        if self.tasks and rng.random() < _TASK_SHARE:
            task = self.tasks[rng.integers(len(self.tasks))]
            sample = self.world.sample(task, index)
            target = (1 + self.classes.index(task), np.asarray(sample.mask))
            return VisionItem(np.asarray(sample.image), label_cells([target], side))
        scene = self.world.shapes(index) if rng.random() < _SHAPE_SHARE else self.world.scene(index)
        things = [(1 + self.classes.index(thing.name), thing.mask) for thing in scene.objects]
        return VisionItem(scene.image, label_cells(things, side))


def _tile(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.concatenate(parts[:2], axis=1), np.concatenate(parts[2:], axis=1)], axis=0)


class VisionLearner(nn.Module):
    """The reasoner's vision tower with training-only heads: what is under each patch, and where it ends.

    Args:
        reasoner: whose tower it is.
        classes: how many things there are to name.
        owns_tower: False where the tower is registered with another module already.
    """

    def __init__(self, reasoner: Reasoner, classes: int, *, owns_tower: bool = True) -> None:
        super().__init__()
        tower = reasoner.mllm.model.visual
        self._tower = [tower]
        if owns_tower:
            self.visual = tower
        self._image_processor = reasoner.processor.image_processor
        cells = CELLS_PER_SIDE * CELLS_PER_SIDE
        self.class_head = nn.Linear(reasoner.hidden_size, cells * (classes + 1))
        self.box_head = nn.Linear(reasoner.hidden_size, cells * 4)

    def loss(self, items: Sequence[VisionItem]) -> tuple[Tensor, dict[str, float], int]:
        """Class and box losses of a batch."""
        device = self.class_head.weight.device
        inputs = self._image_processor(images=[Image.fromarray(i.image) for i in items], return_tensors="pt").to(device)
        tokens = self._tower[0](inputs.pixel_values, grid_thw=inputs.image_grid_thw).pooler_output
        tokens = torch.cat(tokens) if isinstance(tokens, (list, tuple)) else tokens
        labels = np.stack([merge_cells(item.targets.labels) for item in items])
        boxes = np.stack([merge_cells(item.targets.boxes) for item in items])
        truth = torch.from_numpy(labels).to(device).flatten(), torch.from_numpy(boxes).to(device).view(-1, 4)
        scores = self.class_head(tokens).view(len(truth[0]), -1)
        loss, numbers = cell_loss(scores, self.box_head(tokens).view(-1, 4), *truth)
        return loss, numbers, len(items)

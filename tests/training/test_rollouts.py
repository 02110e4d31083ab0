from __future__ import annotations

import pytest

from conceptseg.training.drawing import Turn
from conceptseg.training.episodes import EpisodeBuilder
from conceptseg.training.rollouts import episode_dataset
from tests.training.tiny import square_sample, tiny_model


class Build:
    """An episode builder that counts what it builds, and that nobody may copy: a model of 16 GB hangs on it."""

    def __init__(self, model):
        self._build = EpisodeBuilder(model)
        self.built = []

    def __call__(self, sample, draw):
        self.built.append((sample.id, draw))
        return self._build(sample, draw)

    def __reduce_ex__(self, protocol):
        pytest.fail("the builder was pickled, and its model with it")


def test_rows_are_built_as_they_come_up_and_once_for_a_group():
    model = tiny_model()
    build = Build(model)
    order = [Turn(2), Turn(0), Turn(2, 1), Turn(1)]
    data = episode_dataset([square_sample(k) for k in range(3)], order, build, model.reasoner, 2048)
    assert len(data) == 4
    assert build.built == []
    rows = [data[0], data[0], *data.__getitems__([0, 1])]
    assert [row["episode"].id for row in rows] == ["square/002"] * 3 + ["square/000"]
    assert build.built == [("square/002", 0), ("square/000", 0)]
    assert rows[0]["prompt"] == rows[0]["episode"].prompt.messages()
    assert len(rows[0]["images"]) == 2  # mosaic and target
    assert data[2]["episode"].id == "square/002"
    assert build.built[2:] == [("square/002", 1)]  # another epoch, other references

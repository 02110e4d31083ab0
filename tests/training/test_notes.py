from __future__ import annotations

from conceptseg.training.config import MetaGRPOConfig, WarmupConfig
from conceptseg.training.drawing import SampleSet
from conceptseg.training.notes import notes_on_data, notes_on_references
from tests.training.tiny import square_sample


def some(count, split="train"):
    samples = [square_sample(number, references=0, split=split) for number in range(count)]
    return SampleSet(samples, None, range(count))


def configured(kind=WarmupConfig, **data):
    return kind(out="x", data={"folders": ("f",), **data}, batch_size=16)


def test_the_numbers_are_told_and_where_they_come_from():
    assert list(notes_on_data(configured(held_out=0.2), some(32), some(8))) == [
        "Samples: 32 to learn from, 8 held out (set aside by data.held_out=0.2)."
    ]
    (split,) = notes_on_data(configured(validation="val", held_out=0.2), some(32), some(8, "val"))
    assert split == "Samples: 32 to learn from, 8 held out (the split 'val', so data.held_out is not used)."


def test_nothing_to_measure_on_says_what_to_do():
    _, note = notes_on_data(configured(validation="val"), some(16), some(0))
    assert note.startswith("Nothing is held out") and "Give rows of the split 'val', or data.held_out=0.2" in note


def test_fewer_samples_than_a_batch_says_what_to_do():
    *_, note = notes_on_data(configured(), some(4), some(1))
    assert note.startswith(
        "An update takes 16 samples, there are 4: it sees each about 4.0 times. Set batch_size lower"
    )
    assert len(list(notes_on_data(configured(MetaGRPOConfig), some(4), some(1)))) == 1, "16 responses are two prompts"


def test_samples_that_can_have_no_reference_are_named():
    alone = [("to learn from", square_sample(1)), ("held out", square_sample(2)), ("held out", square_sample(3))]
    (note,) = notes_on_references(alone, lambda sample: [] if sample.id == "square/003" else [sample], 4)
    assert note.startswith("1 of 2 samples held out have no reference") and "(square/003)" in note
    assert list(notes_on_references(alone, lambda sample: [], 0)) == []

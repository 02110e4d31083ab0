"""Notes of many references, folded."""

from __future__ import annotations

from conceptseg.inference.notes import MOST_NOTES, fold_notes


def test_the_same_of_several_references_is_one_note():
    notes = ["Reference 1: scaled.", "A", "Reference 2: cut.", "Reference 4: scaled.", "A", "Absent picture 1: scaled."]
    assert fold_notes(notes) == ("References 1, 4: scaled.", "A", "Reference 2: cut.", "Absent picture 1: scaled.")


def test_so_many_notes_as_a_file_holds_are_kept_and_the_rest_is_counted():
    notes = [f"Reference {n}: its own story {n}." for n in range(1, 301)]
    told = fold_notes(notes)
    assert len(told) == MOST_NOTES and told[:255] == tuple(notes[:255])
    assert told[-1] == "… and 45 more notes, which are left out."
    assert fold_notes(notes[:MOST_NOTES]) == tuple(notes[:MOST_NOTES])

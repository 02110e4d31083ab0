"""What IMAGE|FOLDER|GLOB and --ref mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from conceptseg.errors import InputError
from conceptseg.interfaces.cli.inputs import find_images, parse_reference


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/c.webp", ".hidden/d.png", "out/e.png", "a@b.jpg", "m@2.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["."], ["a.PNG", "a@b.jpg", "b.jpg", "deep/c.webp", "m@2.png"]),
        (["b.jpg", "."], ["b.jpg", "a.PNG", "a@b.jpg", "deep/c.webp", "m@2.png"]),
        (["*.jpg"], ["a@b.jpg", "b.jpg"]),
        (["**/*.webp"], ["deep/c.webp"]),
        (["notes.txt"], ["notes.txt"]),  # named outright: the user knows best
        (["deep/../b.jpg", "b.jpg"], ["b.jpg"]),
    ],
)
def test_arguments_stand_for_pictures(tree, arguments, expected):
    assert find_images(arguments, exclude=Path("out")).paths == [tree.resolve() / name for name in expected]


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("", "The argument '' is blank"),
        (" \t", "is blank: name a picture, a folder or a pattern"),
        ("absent", "There is no file or folder 'absent'"),
        ("*.txt", r"'\*\.txt' holds no pictures \(left out, 1 no pictures: notes.txt\)"),
        (".hidden/../out", "lies inside the results folder 'out': choose another --out"),
        ("*.gif", r"Nothing matches '\*\.gif'"),
    ],
)
def test_an_argument_without_pictures_is_an_error(tree, argument, complaint):
    with pytest.raises(InputError, match=complaint):
        find_images([argument], exclude=Path("out"))


def test_a_pattern_means_what_the_shell_makes_of_it(tree):
    """Folders that it matches are searched; what it does not match is not spoken of."""
    found = find_images(["*"], exclude=Path("out"))
    names = [path.relative_to(tree.resolve()).as_posix() for path in found.paths]
    assert names == ["a.PNG", "a@b.jpg", "b.jpg", "deep/c.webp", "m@2.png"]
    assert found.left_out.counts == {"no pictures": 1}


def test_a_dangling_link_that_is_named_is_an_error(tree):
    Path("lost.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match=r"'lost.jpg' is a link that leads nowhere"):
        find_images(["lost.jpg"], exclude=Path("out"))


@pytest.mark.parametrize(
    ("text", "image", "mask", "box"),
    [
        ("b.jpg", "b.jpg", None, None),
        ("b.jpg@a.PNG", "b.jpg", "a.PNG", None),
        ("b.jpg@1,2,30,40.5", "b.jpg", None, (1.0, 2.0, 30.0, 40.5)),
        ("b.jpg@-1,0,1e3,.5e2", "b.jpg", None, (-1.0, 0.0, 1000.0, 50.0)),
        ("b.jpg@ 1, 2, 30, 40", "b.jpg", None, (1.0, 2.0, 30.0, 40.0)),
        ("a@b.jpg", "a@b.jpg", None, None),
        ("a@b.jpg@m@2.png", "a@b.jpg", "m@2.png", None),
        ("a@b.jpg@1,2,3,4", "a@b.jpg", None, (1.0, 2.0, 3.0, 4.0)),
    ],
)
def test_references_are_read(tree, text, image, mask, box):
    reference = parse_reference(text)
    assert reference.image == tree.resolve() / image
    assert reference.mask == (None if mask is None else tree.resolve() / mask)
    assert reference.box == box


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("absent.png", "there is no such image"),
        ("absent.png@1,2,3,4", "there is no such image"),
        ("b.jpg@absent.png", "neither a mask file nor a box"),
        ("b.jpg@1,2,3", "neither a mask file nor a box"),
        ("b.jpg@30,2,1,4", "x1 < x2"),
        ("b.jpg@1.2.3,2,9,9", "neither a mask file nor a box"),
        ("b.jpg@0,0,inf,9", "all finite"),
        ("b.jpg@0,nan,9,9", "all finite"),
    ],
)
def test_wrong_references_are_refused(tree, text, complaint):
    with pytest.raises(InputError, match=complaint):
        parse_reference(text)

"""Words, configurations and sample indexes as anybody may write them: a result, or an error of ours, nothing else."""

from __future__ import annotations

import random
import string
from pathlib import Path

from hypothesis import strategies as st

from conceptseg.data import read_samples
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ConceptSegError
from conceptseg.evaluation.sources import open_sources, parse_option
from conceptseg.inference.references import as_references
from conceptseg.interfaces.cli.inputs import parse_reference
from conceptseg.masks import Selection
from conceptseg.protocol import format_response, parse_response
from conceptseg.training.config import MetaGRPOConfig, WarmupConfig
from conceptseg.training.config_reading import dump_config, load_config
from conceptseg.training.yaml_text import read_yaml
from conceptseg.words import check_words, tidy_words

WORDS = sorted(
    {*WarmupConfig.model_fields, *MetaGRPOConfig.model_fields, "folders", "world", "count", "held_out", "seed"}
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["1e-5", "0.2"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
SCRAPS = st.sampled_from(
    [
        "stage: warmup\n", "out: a\n", "data: {world: {count: 4}}\n", "data:\n  folders: [a]\n", "extends: warmup\n",
        "&a ", "*a", "!!int ", "!!timestamp x", "!!bool ''", "!!binary '?'", "2026-13-45", "1:99", "<<: *a\n",
        "? [a]\n: b\n",
        "!!python/object:os.system {}", "{", "[", "]", "}", ": ", "- ", "\n", "  ", "|\n", ">\n", "'", '"', "0x",
        "0b2", "1_", ".inf", "\t", "\x00", "\ufeff", "---\n", "...\n", "%YAML 9\n", "\r\n", "[" * 40,
    ]
)  # fmt: skip
TEXTS = st.lists(SCRAPS | st.text(string.printable, max_size=6), max_size=12).map("".join)
OVERRIDES = st.lists(st.builds("{}={}".format, st.sampled_from(WORDS) | st.text(max_size=8), TEXTS), max_size=3)
STAGES = st.sampled_from(["warmup", "meta-grpo"])
BOXES = st.lists(st.sampled_from([0, 1, -1, 3.5, 40, 1e9, 1e400, float("nan"), 10**400, "4", None, True]), max_size=5)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("id", "concept", "rule", "answer", "group", "split", "level"), VALUES | st.text(max_size=8)),
        "task": st.sampled_from(["saliency", "other_cd", "nothing"]) | VALUES,
        "image": st.sampled_from(["a.png", "../a.png", "/a.png", "a\0.png", "a" * 5000, "\ud800.png", "."]) | VALUES,
        "mask": st.sampled_from(["a.png", "b\0", "\udfff"]) | VALUES,
        "references": VALUES
        | st.lists(st.dictionaries(st.sampled_from(["image", "mask", "box"]), VALUES | BOXES | st.just("a.png"))),
    },
)  # fmt: skip
TAGS = [f"<{slash}{part}>" for part in ("think", "rule", "check", "bbox", "answer") for slash in ("", "/")]
PIECES = (
    *TAGS, *TAGS, "<Answer >", "&lt;answer&gt;", "</ans", "<", ">", "/", "[1, 2, 3, 4]", "[", "]", "1e9", "nan", "-5",
    "(3 4 8 9)", "x1", ", ", " ", "\n", "red star", "<|im_end|>", "<b>", "\ud800", "\0", "\u200b", "数字", "＜answer＞",
)  # fmt: skip
KEYED = '"id": "1", "task": "saliency", "concept": "x", "image": "a.png"'


def check_yaml(text: str) -> bool:
    """YAML of any kind."""
    try:
        read_yaml(text, "the text")
    except ConceptSegError as error:
        assert str(error).strip()
        return False
    return True


def check_recipe(given: tuple[str, str, list[str]], folder: Path) -> bool:
    """A configuration that reads back to itself, or an error of ours."""
    stage, text, overrides = given
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config = load_config(stage, file, overrides)
    except ConceptSegError as error:
        assert str(error).strip()
        return False
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(stage, file) == config
    return True


def index_line(seed: int) -> bytes:
    """A row of samples.jsonl that is nearly right: keys twice, a BOM, CRLF, NUL, cut off, nested deeply."""
    rng = random.Random(seed)
    more = [
        '"mask": "a.png"', '"mask": "../a.png"', '"references": [{"image": "a.png", "box": [0, 0, NaN, 4]}]',
        '"references": [{"image": "a.png", "box": [9, 0, 1, 4]}]',
        '"references": [{"image": "a.png", "box": [0,0,4,4]}]',
        '"box": [1, 2, 3, 1e999]', '"x": ' + "[" * rng.choice([3, 3000]), '"x": 1' + "0" * 5000, '"id": "2"',
        '"level": "CD"',
        '"concept": "\\ud800"', '"concept": "a\\u0000b"', '"answer": "<|im_end|>"', '"image": "A.png"', '"group": 7',
    ]  # fmt: skip
    line = "{" + ", ".join([KEYED, *rng.sample(more, rng.randint(0, 3))]) + "}"
    data = bytearray(
        rng.choice(["", "", "\ufeff", " ", "\t"]).encode() + line.encode() + rng.choice([b"", b"\r", b"\0"])
    )
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def check_index(lines: bytes, folder: Path) -> bool:
    """Samples, or an error of ours that has the line."""
    (folder / "a.png").touch()
    (folder / "samples.jsonl").write_bytes(lines)
    try:
        samples = read_samples(folder)
    except ConceptSegError as error:
        assert "line" in str(error)
        return False
    assert all(isinstance(sample, ConceptSample) and sample.id.encode() for sample in samples)
    assert len(samples) == len({sample.id for sample in samples})
    boxes = [reference.box for sample in samples for reference in sample.references if reference.box]
    assert all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in boxes)
    return bool(samples)


def response_text(seed: int) -> str:
    """Pieces of responses in any order, a good one among them."""
    rng = random.Random(seed)
    pieces = rng.choices(PIECES, k=rng.randint(0, 24))
    if rng.random() < 0.3:
        pieces.insert(rng.randrange(len(pieces) + 1), format_response("t", "r", (1, 2, 3, 4), (1, 2, 3, 4), "a cat"))
    return "".join(pieces)


def check_response(seed: int) -> bool:
    """Total; words without tags, boxes with an area, and strict means that nothing is wrong."""
    response = parse_response(response_text(seed))
    for words in (response.rule, response.answer, response.words):
        assert words is None or not any(tag in words.lower() for tag in TAGS), words
    for box in (response.check, response.box):
        assert box is None or (box[0] < box[2] and box[1] < box[3] and max(map(abs, box)) < 1e7)
    if response.words is not None:
        assert check_words(response.words) == response.words
        assert "<|" not in response.words
    return response.words is not None


def check_text(text: str) -> bool:
    """A concept is tidied to what stays as it is, or refused."""
    try:
        words = check_words(text)
    except ConceptSegError as error:
        assert str(error)
        return False
    assert tidy_words(words) == words == check_words(words) and words.encode()
    return True


ARGUMENTS = st.lists(
    st.sampled_from([
        "a.png", "@", "#", ":", "=", "?", "/", ",", "1", "nan", "1e400", "-3", "world", "all", "coco", "folders", "..",
        "\0", "\ud800", " ", "#ff0000", "any", "x" * 300, "~", "*", "[", "%", "train",
    ]) | st.text(max_size=4),
    max_size=7,
).map("".join)  # fmt: skip


def check_argument(text: str, folder: Path) -> bool:
    """A word of the command line as a reference, a data set, a label and an option."""
    (folder / "a.png").touch()
    done = 0
    for read in (
        lambda: parse_reference(f"{folder / 'a.png'}@{text}"),
        lambda: parse_reference(text),
        lambda: open_sources([text]),
        lambda: Selection.of(text, None),
        lambda: parse_option(text),
    ):
        try:
            read()
            done += 1
        except ConceptSegError as error:
            assert str(error)
    return done > 0


HANDED = st.recursive(
    st.none() | st.text(max_size=4) | st.binary(max_size=4) | st.floats() | BOXES | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.sets(st.text(max_size=2), max_size=2),
    max_leaves=6,
)


def check_handed(value: object) -> bool:
    """Anything at all in the place of references."""
    try:
        references = as_references(value)
    except ConceptSegError as error:
        assert str(error)
        return False
    boxes = [reference.box for reference in references if reference.box is not None]
    assert all(x1 < x2 and y1 < y2 and max(map(abs, (x1, y1, x2, y2))) < 1e300 for x1, y1, x2, y2 in boxes)
    return bool(references)

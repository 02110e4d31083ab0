from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptseg.errors import InputError
from conceptseg.protocol import Problem, Response, format_box, format_response, parse_response

THINK, RULE, ANSWER = "the shapes agree", "same shape", "red star"
CHECK, BOX = (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0)
GOOD = (
    "<think>the shapes agree</think>\n<rule>same shape</rule>\n<check>[1, 2, 3, 4]</check>\n"
    "<bbox>[10, 20, 30, 40]</bbox>\n<answer>red star</answer>"
)


def fields(response: Response) -> tuple:
    return response.think, response.rule, response.check, response.box, response.answer


# The strict form


def test_the_form_of_the_paper():
    assert format_response(THINK, RULE, CHECK, BOX, ANSWER) == GOOD
    response = parse_response(GOOD)
    assert fields(response) == (THINK, RULE, CHECK, BOX, ANSWER)
    assert response.text == GOOD
    assert response.is_strict and response.problems == ()


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", ""),
        GOOD.replace("\n", " "),
        f"\n  {GOOD}\n\n",
        GOOD.replace("[1, 2, 3, 4]", "[1,2,3,4]"),
        GOOD.replace("[1, 2, 3, 4]", " [ 1.5 , -2.25, 3, 4 ] "),
        GOOD.replace(THINK, "a < b, c > d, <b>bold</b> & 数字"),
    ],
)
def test_other_strict_forms(text: str):
    assert parse_response(text).is_strict


def without(part: str) -> str:
    return re.sub(rf"<{part}>.*?</{part}>\n?", "", GOOD)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (without("think"), Problem.NO_THINK),
        (without("rule"), Problem.NO_RULE),
        (without("check"), Problem.NO_CHECK),
        (without("bbox"), Problem.NO_BBOX),
        (without("answer"), Problem.NO_ANSWER),
        (GOOD + "<answer>two</answer>", Problem.REPEATED),
        ("<think>" + GOOD, Problem.REPEATED),
        (GOOD.replace("</rule>", ""), Problem.UNCLOSED),
        (GOOD.removesuffix("</answer>"), Problem.UNCLOSED),
        (GOOD.removeprefix("<think>"), Problem.UNOPENED),
        (GOOD.replace("<rule>", "<Rule>"), Problem.TAG_CASE),
        (GOOD.replace("<rule>same shape</rule>\n", "") + "<rule>same shape</rule>", Problem.OUT_OF_ORDER),
        (GOOD.replace("<bbox>", "<bbox><answer>").replace("<answer>red", "red"), Problem.OUT_OF_ORDER),
        ("Sure! " + GOOD, Problem.STRAY_TEXT),
        (GOOD + " Done.", Problem.STRAY_TEXT),
        (GOOD.replace("\n<rule>", "and <rule>"), Problem.STRAY_TEXT),
        (GOOD.replace(THINK, " "), Problem.EMPTY_PART),
        (GOOD.replace(ANSWER, ""), Problem.EMPTY_PART),
        (GOOD.replace("[1, 2, 3, 4]", ""), Problem.EMPTY_PART),
        (GOOD.replace("[1, 2, 3, 4]", "1, 2, 3, 4"), Problem.BOX_FORM),
        (GOOD.replace("[1, 2, 3, 4]", "[1, 2, 3, 4,]"), Problem.BOX_FORM),
        (GOOD.replace("[1, 2, 3, 4]", "[1 2 3 4]"), Problem.BOX_FORM),
        (GOOD.replace("[1, 2, 3, 4]", "[[1, 2, 3, 4]]"), Problem.BOX_FORM),
        (GOOD.replace("[1, 2, 3, 4]", "[+1, 2, 3, 4]"), Problem.BOX_FORM),
        (GOOD.replace("[1, 2, 3, 4]", "[1, 2, 3, 4] [5, 6, 7, 8]"), Problem.BOX_FORM),
        (GOOD.replace("[1, 2, 3, 4]", "[1, 2, 3]"), Problem.BOX_UNREADABLE),
        (GOOD.replace("[1, 2, 3, 4]", "[3, 2, 1, 4]"), Problem.BOX_SWAPPED),
        (GOOD.replace("[1, 2, 3, 4]", "[1, 2, 1, 4]"), Problem.BOX_EMPTY),
    ],
)
def test_each_violation_is_named_and_not_strict(text: str, problem: Problem):
    response = parse_response(text)
    assert problem in response.problems
    assert not response.is_strict


def test_a_long_answer_is_noted_but_strict():
    assert parse_response(GOOD.replace(ANSWER, "small red star")).problems == ()
    response = parse_response(GOOD.replace(ANSWER, "a small red star"))
    assert response.problems == (Problem.LONG_ANSWER,)
    assert response.is_strict and response.answer == "a small red star"


def test_what_was_not_asked_for_is_not_strict():
    assert parse_response(without("check"), expect_check=False).is_strict
    assert parse_response(GOOD, expect_check=False).problems == (Problem.NOT_ASKED_FOR,)
    direct = format_response(THINK, None, None, BOX, ANSWER)
    assert parse_response(direct, expect_check=False, expect_rule=False).is_strict
    assert set(parse_response(direct).problems) == {Problem.NO_RULE, Problem.NO_CHECK}


STRICT = re.compile(
    r"\s*<think>(?P<think>[^<]*)</think>\s*<rule>(?P<rule>[^<]*)</rule>\s*<check>(?P<check>[^<]*)</check>"
    r"\s*<bbox>(?P<bbox>[^<]*)</bbox>\s*<answer>(?P<answer>[^<]*)</answer>\s*",
    re.ASCII,
)
STRICT_BOX = re.compile(r"\s*\[(\d+), (\d+), (\d+), (\d+)\]\s*", re.ASCII)


def is_strict_by_hand(text: str) -> bool:
    """T_CoT written a second time, for texts without other tags."""
    match = STRICT.fullmatch(text)
    if not match or not all(content.strip() for content in match.groupdict().values()):
        return False
    boxes = [STRICT_BOX.fullmatch(match[part]) for part in ("check", "bbox")]
    corners = [tuple(map(int, box.groups())) for box in boxes if box]
    return len(corners) == 2 and all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in corners)


PIECES = [
    *(f"<{slash}{part}>" for part in ("think", "rule", "check", "bbox", "answer") for slash in ("", "/")),
    *("<THINK>", "a", " ", "\n", "[1, 2, 3, 4]", "[4, 3, 2, 1]", "[1, 2, 3]", "<", ">", "</", "[", "]"),
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=3), st.integers(0, 30), st.integers(0, 3))
def test_strictness_agrees_with_a_second_definition(inserted: list[str], at: int, removed: int):
    pieces = re.split(r"(</?\w+>)", GOOD)
    pieces[at : at + removed] = inserted
    text = "".join(pieces)
    if text.count("<") == len(re.findall(r"</?(?:think|rule|check|bbox|answer)>", text)):
        assert parse_response(text).is_strict == is_strict_by_hand(text)


# Writing and reading back

words = st.text(min_size=1, max_size=60).filter(lambda text: text.strip() and "<" not in text)
corners = st.tuples(*[st.integers(-50, 2000)] * 2, *[st.integers(1, 900)] * 2)
boxes = corners.map(lambda corner: (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3]))


@given(words, st.none() | words, st.none() | boxes, boxes, words)
def test_reading_inverts_writing(think: str, rule: str | None, check: tuple | None, box: tuple, answer: str):
    text = format_response(think, rule, check, box, answer)
    response = parse_response(text, expect_check=check is not None, expect_rule=rule is not None)
    assert response.is_strict
    assert fields(response) == (think.strip(), rule and rule.strip(), check, box, answer.strip())


real_corners = st.tuples(*[st.floats(0, 2000)] * 2, *[st.floats(1e-3, 900)] * 2)


@given(real_corners)
def test_any_real_box_is_written_strictly(corner: tuple[float, float, float, float]):
    box = (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[3])
    response = parse_response(format_response(THINK, RULE, box, box, ANSWER))
    assert response.is_strict
    assert response.box == pytest.approx(box, abs=1.0)


def test_parts_that_are_none_are_left_out():
    assert format_response(None, None, None, BOX, None) == "<bbox>[10, 20, 30, 40]</bbox>"
    assert format_response(None, None, None, None, None) == ""


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((1.4, 2.6, 30.2, 40.9), "[1, 3, 30, 41]"),
        ((10.1, 10.2, 10.3, 10.4), "[10, 10, 11, 11]"),
        ((99.6, 99.7, 100.0, 100.0), "[99, 99, 100, 100]"),
    ],
)
def test_boxes_are_rounded_and_never_vanish(box: tuple, text: str):
    assert format_box(box) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", RULE, CHECK, BOX, ANSWER), "<think> must not be blank"),
        ((THINK, RULE, CHECK, BOX, " "), "<answer> must not be blank"),
        ((THINK, "a <CHECK> b", CHECK, BOX, ANSWER), "<rule> must not contain a tag"),
        ((THINK, RULE, (3, 2, 1, 4), BOX, ANSWER), "x1 < x2"),
        ((THINK, RULE, CHECK, (1, 1, 1, 1), ANSWER), "x1 < x2"),
        ((THINK, RULE, CHECK, (0, 0, float("nan"), 1), ANSWER), "x1 < x2"),
        ((THINK, RULE, CHECK, (0, 0, float("inf"), 1), ANSWER), "within a million"),
    ],
)
def test_what_cannot_be_written(arguments: tuple, message: str):
    with pytest.raises(InputError, match=message):
        format_response(*arguments)


# The lenient reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None, None, None, None)),
        ("\n", (None, None, None, None, None)),
        ("The red star, at the top left.", (None, None, None, None, None)),
        (GOOD.upper(), (THINK.upper(), RULE.upper(), CHECK, BOX, ANSWER.upper())),
        (GOOD.removeprefix("<think>"), (THINK, RULE, CHECK, BOX, ANSWER)),
        (without("think"), (None, RULE, CHECK, BOX, ANSWER)),
        (re.sub("</.*?>", "", GOOD), (THINK, RULE, CHECK, BOX, ANSWER)),
        (GOOD[: GOOD.index("</answer>")], (THINK, RULE, CHECK, BOX, ANSWER)),
        (GOOD[: GOOD.index(", 40]")], (THINK, RULE, CHECK, None, None)),
        (GOOD[: GOOD.index("<bbox>")], (THINK, RULE, CHECK, None, None)),
        (
            "<answer>a</answer><bbox>[1,2,3,4]</bbox><rule>r</rule><think>t</think>",
            ("t", "r", None, (1, 2, 3, 4), "a"),
        ),
        (GOOD.replace(THINK, "so <bbox>[9,9]</bbox>"), ("so <bbox>[9,9]</bbox>", RULE, CHECK, BOX, ANSWER)),
        (GOOD + GOOD.replace("star", "moon"), (THINK, RULE, CHECK, BOX, ANSWER)),
        (GOOD.replace("<", "&lt;").replace(">", "&gt;"), (None, None, None, None, None)),
        ("<think><think><rule>r</rule>", ("<think>", "r", None, None, None)),
        ("</answer></bbox><answer>a", (None, None, None, None, "a")),
    ],
)
def test_texts_a_model_might_write(text: str, expected: tuple):
    assert fields(parse_response(text)) == expected


@pytest.mark.parametrize(
    ("content", "box"),
    [
        ("[10, 20, 30, 40]", BOX),
        ("10 20 30 40", BOX),
        ("(10, 20), (30, 40)", BOX),
        ("[[10, 20, 30, 40]]", BOX),
        ("[10.0, 20.00, 3e1, 4.0E+1]", BOX),
        ("[30, 40, 10, 20]", BOX),
        ("[30, 20, 10, 40]", BOX),
        ("[10, 20, 30, 40,]", BOX),
        ("[10, 20, 30, 40", BOX),
        ("10, 20, 30, 40]", BOX),
        ('{"bbox_2d": [10, 20, 30, 40], "label": "x1"}', BOX),
        ('{"x1": 10, "y1": 20, "x2": 30, "y2": 40}', BOX),
        ("x1=10, y1=20, x2=30, y2=40", BOX),
        ("[10, 20, 30, 40], [1, 2, 3, 4]", BOX),
        ("[-5, 20, 30, 40]", (-5, 20, 30, 40)),
        ("[]", None),
        ("[10, 20, 30]", None),
        ("[10, 20, 30, 40, 50]", None),
        ("[10, 20, 30, NaN]", None),
        ("[10, 20, 30, inf]", None),
        ("[10, 20, 30, 1e999]", None),
        ("[10, 20, 30, 4000000]", None),
        ("[10, 20, 30, " + "9" * 400 + "]", None),
        ("[1, 2, 3, 0x10]", None),
        ("[١, ٢, ٣, ٤]", None),
        ("[1_0, 20, 30, 40]", None),
        ("[10, 20, 10, 40]", None),
        ("__import__('os')", None),
        ("no box here", None),
    ],
)
def test_boxes_a_model_might_write(content: str, box: tuple | None):
    response = parse_response(f"<bbox>{content}</bbox>")
    assert response.box == box
    assert parse_response(f"<bbox>{content}").box == box


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_gives_a_response(text: str):
    response = parse_response(text)
    assert response.text == text
    assert set(response.problems) <= set(Problem)
    assert list(response.problems) == [problem for problem in Problem if problem in response.problems]
    for part in (response.think, response.rule, response.answer):
        assert part is None or (part and part == part.strip() and part in text)
    for box in (response.check, response.box):
        assert box is None or (box[0] < box[2] and box[1] < box[3])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("A</check><answer>B", "A"),
        ("</check>cat", "cat"),
        ("<answer><answer>cat", "cat"),
        ("<rule>other things</rule>cat", "cat"),
        ("<rule x='1'>other things</rule> cat", "cat"),
        ("cat</ans", "cat"),
        ("cat<", "cat"),
        ("cat</", "cat"),
        ("cat</answer", "cat"),
        ("cat</ Answer >", "cat"),
        ("cat<answer", "cat"),
        ("cat/answer>", "cat"),
        ("cat&lt;/answer&gt;", "cat"),
        ("cat\uff1c/answer\uff1e", "cat"),
        ("cat</<answer>dog", "cat"),
        ("<bbox>[1, 2, 3, 4]</bbox>", None),
        ("<", None),
        ("<check>" * 100 + "cat", None),
        ("a < b", "a < b"),
        ("</answers> of <thinkers>", "</answers> of <thinkers>"),
    ],
)
def test_an_answer_holds_no_markup(content: str, words: str | None):
    assert parse_response(f"<answer>{content}</answer>").answer == words


def test_markup_in_a_part_is_a_violation():
    assert parse_response(GOOD.replace(ANSWER, "red star</ans")).problems == (Problem.MARKUP,)
    assert not parse_response(GOOD.replace(RULE, "same </ rule> shape")).is_strict


TAG = re.compile(r"(<|&lt;|\uff1c)\s{0,3}/?\s{0,3}(think|rule|check|bbox|answer)(?![a-z])|</?$", re.IGNORECASE)
MANGLED = [
    *PIECES,
    "</ans",
    "<answer",
    "< / answer >",
    "<ANSWER x='1'>",
    "&lt;rule&gt;",
    "<",
    "</",
    "/answer>",
    " cat ",
    "<b>",
]


@given(st.lists(st.sampled_from(MANGLED) | st.text(max_size=5), max_size=30).map("".join))
def test_no_text_gives_words_with_markup(text: str):
    response = parse_response(text)
    for words in (response.rule, response.answer, response.words):
        assert words is None or not TAG.search(words)
    assert response.words is None or response.words == " ".join(response.words.split())


def test_what_sam_is_given_has_no_tags_of_other_languages_and_can_be_read():
    assert parse_response("<answer>the <b>red</b>\n star</answer>").words == "the red star"
    assert parse_response("<answer>a < b, c|d</answer>").words == "a < b, c|d"
    for dressed in (
        "red star<|im_end|>",
        "**red star**",
        "`red star`",
        '"red star"',
        "\u201cred star\u201d",
        "red star</s>",
    ):
        assert parse_response(f"<answer>{dressed}</answer>").words == "red star"
    for unreadable in ("\ud800", "\0", "\u200b", "<b></b>", "<|im_end|>", "**"):
        assert parse_response(f"<answer>{unreadable}</answer>").words is None


def test_lone_surrogates_are_text_too():
    assert parse_response("<answer>\ud800</answer>").answer == "\ud800"


MILLION = 1_000_000
HOSTILE = {
    "openings": "<think>" * (MILLION // 7),
    "capitals": "<THINK>" * (MILLION // 7),
    "closings": "</answer>" * (MILLION // 9),
    "boxes": "<check>[" * (MILLION // 8),
    "pairs": "<rule></rule>" * (MILLION // 13),
    "reversed": "<answer><bbox><check><rule><think>" * (MILLION // 34),
    "nested": "<think><rule>" * (MILLION // 26) + "</rule></think>" * (MILLION // 30),
    "almost tags": "<think" * (MILLION // 6),
    "almost closings": "/think>" * (MILLION // 7),
    "less than": "<" * MILLION,
    "greater than": ">" * MILLION,
    "digits": "<bbox>" + "1" * MILLION,
    "minus signs": "<bbox>" + "-" * MILLION,
    "brackets": "<bbox>" + "[" * MILLION,
    "numbers": "<bbox>[" + "1, " * (MILLION // 3),
    "exponents": "<bbox>[" + "1e" * (MILLION // 2),
    "words": "<answer>" + "a " * (MILLION // 2),
    "spaces": "<answer>" + " " * MILLION,
    "less than in words": "<answer>" + "<" * MILLION,
    "tags in words": "<answer>" + "< answer" * (MILLION // 8),
    "gaps in words": "<rule>" + "<   /   " * (MILLION // 8),
    "two bytes": "é" * (MILLION // 2),
    "four bytes": "\N{GRINNING FACE}" * (MILLION // 4),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_megabyte_takes_no_time(text: str):
    """At most 50 ms of processor time, the best of five, since the machine may be busy."""
    assert min(processor_seconds(text) for _ in range(5)) < 0.05


def processor_seconds(text: str) -> float:
    start = time.process_time()
    assert not parse_response(text).is_strict
    return time.process_time() - start

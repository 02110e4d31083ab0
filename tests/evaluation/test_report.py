"""The paper's tables from runs, and the published numbers themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from conceptseg.errors import InputError
from conceptseg.evaluation.records import RowWriter, write_config
from conceptseg.evaluation.report import PAPER_TABLES, paper_tables, write_report
from conceptseg.evaluation.report.external import table_2, table_3
from conceptseg.evaluation.report.gallery import choose_questions, questions_of
from conceptseg.evaluation.report.methods import check_variant, table_1, table_4, table_8, table_9
from conceptseg.evaluation.report.page import render_page
from conceptseg.evaluation.report.paper import paper_table
from conceptseg.evaluation.report.robustness import figure_7, table_10, table_11, table_12
from conceptseg.evaluation.report.scoreboard import headline, scoreboard, standings
from conceptseg.evaluation.runner import evaluate
from conceptseg.evaluation.runs import Run, load_run
from conceptseg.evaluation.settings import EvaluationConfig
from conceptseg.evaluation.tables import Origin, Table
from conceptseg.taxonomy import GROUPS, LEAF_TASKS, level_of
from tests.evaluation.fakes import FakeSegmenter, write_set

SLIPS = {  # the paper's means that are not the means of its own numbers
    ("SAM3-Agent-3B", "miou", "CD"),
    ("SAM3-Agent-7B", "ber", "CD"),
    ("SAM3-Agent-7B", "sm", "CD"),
    ("ConceptSeg-R1-7B", "ber", "CR"),
}


def of_table_8() -> dict[tuple[str, str], dict[str, float | None]]:
    table = paper_table(8)
    return {
        (row["method"], row["metric"]): dict(zip(table["columns"], row["values"], strict=True)) for row in table["rows"]
    }


def test_published_means_of_levels_are_those_of_their_tasks():
    for (method, metric), values in of_table_8().items():
        for level in ("CI", "CD", "CR"):
            tasks = [task for task in LEAF_TASKS if level_of(task).value == level]
            known = [value for task in tasks if (value := values[task]) is not None]
            if (method, metric, level) not in SLIPS and known:
                assert fmean(known) == pytest.approx(values[level], abs=0.011), (method, metric, level)


def test_published_table_1_follows_from_table_8():
    details = of_table_8()
    for row in paper_table(1)["rows"]:
        for (group, metric), value in zip(paper_table(1)["columns"], row["values"], strict=True):
            if group != "Mean" and value is not None:
                tasks = [details[row["method"], metric][task] for task in GROUPS[group]]
                assert fmean(tasks) == pytest.approx(value, abs=0.06), (row["method"], group, metric)


def test_published_tables_agree_with_each_other():
    details = of_table_8()
    for row in paper_table(10)["rows"]:
        _, wfm_direct, _, wfm_auto, miou_direct, _, miou_auto = row["values"]
        ours, sam = "ConceptSeg-R1-3B", "SAM 3"
        assert (wfm_auto, miou_auto) == (details[ours, "wfm"][row["task"]], details[ours, "miou"][row["task"]])
        assert (wfm_direct, miou_direct) == (details[sam, "wfm"][row["task"]], details[sam, "miou"][row["task"]])
    best = paper_table(9)["rows"][-1]["values"]
    for (level, metric), value in zip(paper_table(9)["columns"], best, strict=True):
        assert value == details["ConceptSeg-R1-3B", metric][level]
    for row in paper_table(2)["rows"]:
        assert fmean(row["values"][:-1]) == pytest.approx(row["values"][-1], abs=0.05)
    last = {row["method"]: row["values"] for row in paper_table(4)["rows"]}
    assert last["+ Meta-GRPO"] == last["ConceptSeg-R1"] == last["Two-stage (SFT + RL)"]
    assert last["SAM 3"] == paper_table(1)["rows"][0]["values"]


def score_row(data: str, index: int, task: str, value: float, **more: Any) -> dict[str, Any]:
    """A row whose six scores are all `value`, with a union of 100 pixels."""
    scores = dict.fromkeys(("mae", "ber", "wfm", "sm", "miou", "iou", "mdice"), value)
    labels = {"data": data, "index": index, "id": f"{data}/{index}", "task": task, "group": None, "concept": "moth"}
    spoken = dict.fromkeys(("route", "response", "rule", "answer", "true_rule", "true_answer", "check_iou", "box_iou"))
    return {**labels, **scores, "intersection": round(100 * value), "union": 100, **spoken, "error": None, **more}


def make_run(folder: Path, rows: list[dict[str, Any]], tokens: int = 8, **config: Any) -> Run:
    settings = EvaluationConfig.of({"data": ("set",)} | config)
    checkpoint = {"name": "nano", "concept_tokens": tokens, "sha256": {"home": "feedbeef"}}
    record = {"config": settings.model_dump(mode="json"), "checkpoint": checkpoint, "software": {"commit": "c0ffee"}}
    write_config(folder, record | {"questions": {"set": len(rows)}})
    with RowWriter(folder) as writer:
        writer.write(rows)
    return load_run(folder)


def ours(table: Table) -> list[Any]:
    return [row for row in table.rows if row.origin is Origin.OURS]


@pytest.fixture
def everything(tmp_path) -> Run:
    """A run over all twenty tasks; task number t scores t per cent on two pictures, one above and one below."""
    rows = [
        score_row("set", 2 * number + side, task, (number + 1 + (side - 0.5)) / 100, route="direct")
        for number, task in enumerate(LEAF_TASKS)
        for side in (0, 1)
    ]
    return make_run(tmp_path / "everything", rows)


def test_table_1_averages_tasks_then_groups(everything):
    (row,) = ours(table_1([everything]))
    miou = row.cells[1::2]
    expected = [2.5, 5.5, 7, 8, 9, 11, 14, 16.5, 18, 19.5]
    assert miou == pytest.approx([*expected, fmean(expected)])
    assert "40 questions" in row.note and "protocol native" in row.note and "feedbe" in row.note


def test_a_mean_is_not_given_over_some_of_the_groups(tmp_path):
    run = make_run(tmp_path / "run", [score_row("set", 0, "saliency", 0.5)])
    (row,) = ours(table_1([run]))
    assert row.cells[6:8] == [50.0, 50.0] and row.cells[-2:] == [None, None]
    assert ours(table_1([make_run(tmp_path / "other", [score_row("set", 0, "reasoning", 0.5)])])) == []


def test_table_8_has_six_lines_a_run_and_means_of_levels(everything):
    rows = ours(table_8([everything]))
    assert [row.label for row in rows] == ["MAE", "BER", "F_β^ω", "S_m", "mIoU", "mDice"]
    table = table_8([everything])
    cells = dict(zip([column.title for column in table.columns], rows[4].cells, strict=True))
    assert cells["living"] == pytest.approx(1) and cells["cross frame"] == pytest.approx(20)
    assert (
        cells["CI"] == pytest.approx(2.5) and cells["CD"] == pytest.approx(8.5) and cells["CR"] == pytest.approx(16.5)
    )


def test_variants_go_to_the_ablations_alone(everything, tmp_path):
    variant = make_run(tmp_path / "v", [score_row("set", 0, "saliency", 0.5)], variant="without_meta_reward")
    reward = make_run(tmp_path / "r", [score_row("set", 0, "saliency", 0.5)], variant="without_mask_reward")
    runs = [everything, variant, reward]
    assert len(ours(table_1(runs))) == 1 and len(ours(table_8(runs))) == 6
    (row,) = ours(table_4(runs))
    assert row.label == "w/o Meta Reward" and row.section.startswith("(b)") and row.cells[6] == 50.0
    sections = [row.section for row in table_4(runs).rows]
    assert sections == sorted(sections)  # ours stands in its block
    (row,) = ours(table_9(runs))
    assert row.label == "w/o mask" and row.cells[:6] == [None] * 6 and row.cells[6:12] == [50.0] * 6


def test_table_2_is_over_the_data_set_and_by_class(tmp_path):
    rows = [
        score_row("cityscapes/val", 0, "urban_scene", 0.5, concept="road"),
        score_row("cityscapes/val", 1, "urban_scene", 0.0, concept="road", intersection=0, union=300),
        score_row("cityscapes/val", 2, "urban_scene", 0.25, concept="sky"),
    ]
    (row,) = ours(table_2([make_run(tmp_path / "run", rows, overlaps="resolved")]))
    assert row.cells[0] == pytest.approx(100 * 50 / 400) and row.cells[10] == pytest.approx(25.0)
    assert row.cells[-1] is None and row.label.endswith("overlaps resolved")


def test_table_3_takes_the_splits_apart(tmp_path):
    rows = [
        score_row("reasonseg/val", 0, "reasoning", 0.5),
        score_row("reasonseg/val", 1, "reasoning", 0.0, intersection=0, union=300),
    ]
    (row,) = ours(table_3([make_run(tmp_path / "run", rows)]))
    assert row.cells[:2] == pytest.approx([25.0, 12.5], abs=1e-4) and row.cells[2:] == [None, None]


def test_table_10_needs_one_model_run_several_ways(tmp_path):
    rows = {
        "direct": [score_row("set", n, "shadow", 0.6, route="direct") for n in range(4)],
        "reason": [score_row("set", n, "shadow", 0.2, route="reasoned") for n in range(4)],
        "auto": [score_row("set", n, "shadow", 0.5, route="direct" if n else "reasoned") for n in range(4)],
    }
    runs = [make_run(tmp_path / route, rows[route], route=route) for route in rows]
    (row,) = ours(table_10(runs))
    assert row.label == "shadow"
    assert row.cells == pytest.approx([75.0, 60.0, 20.0, 50.0, 30.0, 60.0, 20.0, 50.0, 30.0])
    assert ours(table_10([runs[2]])) == []  # one way alone compares with nothing
    other = make_run(tmp_path / "other", rows["reason"], route="reason", tokens=4)
    assert ours(table_10([runs[2], other])) == []  # nor does another checkpoint
    (row,) = ours(table_10(runs[1:]))
    assert row.cells[1] is None and row.cells[4] == pytest.approx(30.0)


def test_table_11_is_over_draws_of_references(tmp_path):
    runs = [
        make_run(tmp_path / str(seed), [score_row("set", 0, "shadow", 0.50 + 0.01 * seed)], seed=seed)
        for seed in (0, 1, 2)
    ]
    (row,) = ours(table_11(runs))
    assert row.cells[4] == "51.00±1.00" and row.label.endswith("CD, 3 draws")
    again = make_run(tmp_path / "again", [score_row("set", 0, "shadow", 0.9)], seed=2, variant="one_stage")
    assert ours(table_11([*runs, again]))[0].cells == row.cells  # a variant is another model
    assert ours(table_11(runs[:1])) == []
    known = [score_row("set", 0, "shadow", 0.53), score_row("set", 1, "living", 0.9)]
    (row,) = ours(table_11([*runs, make_run(tmp_path / "more", known, seed=3)]))  # one draw alone tells no spread
    assert row.label.endswith("CD, 4 draws")
    half = make_run(tmp_path / "half", known[1:], seed=4)
    assert [row.label[-11:] for row in ours(table_11([*runs[:2], half]))] == ["CD, 2 draws"]


def test_table_12_sets_one_reference_against_four(tmp_path):
    rows = [score_row("set", 0, "shadow", 0.5), score_row("set", 1, "cross_view", 0.4)]
    runs = [make_run(tmp_path / "one", rows, references=1), make_run(tmp_path / "four", rows)]
    found = ours(table_12(runs))
    assert [(row.section, row.label.rsplit(", ", 1)[1]) for row in found] == [
        ("CD", "1×1"),
        ("CD", "2×2"),
        ("CR", "1×1 (CR: default)"),
        ("CR", "2×2 (CR: default)"),
    ]


def test_figure_7_is_ordered_by_the_number_of_tokens(tmp_path):
    runs = [make_run(tmp_path / str(n), [score_row("set", 0, "shadow", n / 100)], tokens=n) for n in (8, 1, 32)]
    assert [row.cells[0] for row in figure_7(runs).rows] == [1, 8, 32]
    assert figure_7(runs).rows[1].cells[2] == pytest.approx(8.0)
    other = [{"route": "direct"}, {"seed": 1}, {"references": 1}, {"variant": "one_stage"}, {"method": "sam3"}]
    runs += [make_run(tmp_path / next(iter(o)), [score_row("set", 0, "shadow", 0.5)], **o) for o in other]
    assert len(figure_7(runs).rows) == 3  # a curve shows one thing


def test_no_row_mixes_published_numbers_with_ours(everything):
    for make in PAPER_TABLES:
        for row in make([everything]).rows:
            assert row.note and ("arXiv" in row.note) == (row.origin is Origin.PAPER)
            assert len(row.cells) == len(make([]).columns)


def test_questions_to_show_are_the_ends_and_a_fixed_draw(tmp_path):
    first = [score_row("set", n, "shadow", n / 10, confidence=1 - n / 10) for n in range(10)]
    second = [score_row("set", n, "shadow", 0.5) for n in range(10)]
    first.append(score_row("set", 10, "shadow", 0.0, error="no picture"))
    runs = [make_run(tmp_path / "a", first), make_run(tmp_path / "b", second)]
    chosen = choose_questions(questions_of(runs), 2)
    places = {kind: [one.row["index"] for one in some] for kind, some in chosen.items()}
    assert places["worst"] == [0, 1] and places["best"] == [9, 8]
    assert places["uncertain"] == [9, 8]  # whoever is least sure, however good
    assert places["differing"] == [0, 1]  # 0.5 and 0.4 apart; 9, which is 0.4 apart too, has the later name
    again = choose_questions(questions_of(runs), 2)["random"]
    assert places["random"] == [one.row["index"] for one in again] and len(again) == 2
    assert list(choose_questions(questions_of(runs[1:]), 2)) == [
        "worst",
        "best",
        "random",
    ]  # none is sure, none differs


def test_the_first_sentence_says_which_is_better(tmp_path):
    def run(name: str, values: list[float], **config: Any) -> Run:
        rows = [score_row("set", n, "shadow", value) for n, value in enumerate(values)]
        return replace(make_run(tmp_path / name, rows, **config), label=name)

    old, new = run("old", [0.5, 0.6, 0.7, 0.8]), run("new", [0.6, 0.7, 0.8, 0.96])
    # differences 0.1, 0.1, 0.1, 0.16: mean 0.115, variance 0.0009, error √(0.0009 / 4) = 0.015
    told = "new is better than old by 11.5 ± 1.5 points of mIoU, paired over 4 questions."
    assert headline(standings([old, new])) == headline(standings([new, old])) == told
    table = scoreboard(standings([old, new]))
    assert table.rows[1].cells[:1] == pytest.approx([76.5]) and table.rows[1].cells[-1] == "better"
    assert table.rows[1].cells[3:6] == pytest.approx([11.5, 1.5, 4])
    assert r"\textbf{76.5}" in table.to_latex() and r"\textbf{65.0}" not in table.to_latex()
    assert headline(standings([old, run("odd", [0.9, 0.3, 0.7, 0.8])])).startswith("Not decided: odd is 2.5")
    assert "score the same on every one of 4" in headline(standings([old, run("again", [0.5, 0.6, 0.7, 0.8])]))
    assert headline(standings([old])).startswith("old: mIoU 65.0 ± 6.5 on 4 questions.")


def test_what_cannot_be_compared_is_said(tmp_path):
    rows = [score_row("set", n, "shadow", 0.5) for n in range(3)]
    first, short = make_run(tmp_path / "a", rows), make_run(tmp_path / "b", rows[:2])
    assert "share 2 questions; 1 more stand in one of them only" in standings([first, short])[1].remark
    other = make_run(tmp_path / "c", rows, protocol="paper")
    assert "protocol paper" in standings([first, other])[1].remark and standings([first, other])[1].to_first is None
    apart = make_run(tmp_path / "d", [score_row("else", 0, "shadow", 0.5)])
    assert "not compared" in standings([first, apart])[1].remark
    failed = make_run(tmp_path / "e", [*rows[:2], score_row("set", 2, "shadow", 0.0, error="torn")])
    assert "1 question failed, with the worst score" in standings([failed])[0].remark
    two_sets = make_run(tmp_path / "f", [*rows, *(score_row("other", n, "shadow", 0.9) for n in range(3))])
    assert [*standings([two_sets])[0].scores] == ["set", "other", "all sets"]


def test_runs_over_different_sets_stand_on_one_page(tmp_path):
    rows = [score_row("set", n, "shadow", 0.5) for n in range(2)]
    more = [*rows, *(score_row("<b>", n, "shadow", 0.9) for n in range(2))]
    page = render_page(standings([make_run(tmp_path / "a", rows), make_run(tmp_path / "b", more)]), None, [])
    assert page.count("<svg") == 2 and "&lt;b&gt;" in page and "<b><br>" not in page
    assert "share 2 questions; 2 more stand in one of them only" in page


def test_the_papers_tables_are_of_the_papers_data_alone(tmp_path):
    def run(name: str, data: str, spec: str) -> Run:
        return make_run(tmp_path / name, [score_row(data, 0, "shadow", 0.5)], data=(spec,))

    own = [run("a", "plates", "plates"), run("b", "world:shadow:seen_test:1:0", "world:shadow:seen_test:1:0")]
    own.append(run("c", "folders/test", "folders=/data/plates?concept=scratch"))
    assert paper_tables(own) == []
    tables = paper_tables([*own, run("d", "sbu/test", "sbu/test=/data/SBU")])
    assert {table.name for table in tables} == {"table_01", "table_08", "figure_07"}
    assert len(ours(tables[0])) == 1  # of the one run, not of the plates


def test_a_mistyped_variant_is_told():
    check_variant("without_meta_reward")
    check_variant("concept_tokens_4")
    with pytest.raises(InputError, match=r"no ablation 'without_meta_rewrad'\. Did you mean 'without_meta_reward'\?"):
        check_variant("without_meta_rewrad")


@pytest.fixture
def measured(fake_method, tmp_path) -> Run:
    folder = write_set(tmp_path / "moths", 5, task="shadow")
    config = EvaluationConfig.of({"data": (str(folder),), "method": "fake"})
    evaluate(config, tmp_path / "run", FakeSegmenter)
    return load_run(tmp_path / "run")


def test_a_report_is_one_page_with_what_applies_in_every_form(measured, tmp_path):
    report = write_report([measured, measured], tmp_path / "report")
    page, text = report.page.read_text(), (tmp_path / "report/report.md").read_text()
    assert report.left_out == () and report.page.name == "report.html"
    assert report.headline in page and text.startswith(f"# {report.headline}") and "score the same" in report.headline
    assert "## Table" not in text and "Table 1" not in page  # moths are no data of the paper's
    assert "fake (nano) [run_2]" in text and "by set and task" in text
    assert {path.name for path in (tmp_path / "report/csv").iterdir()} == {
        *("scores.csv", "overview.csv", "overview_2.csv"),
    }
    assert not (tmp_path / "report/figures").exists()  # none has more than a point
    assert page.count("<article") == 5 and page.count("data:image/jpeg") == 5 * 5  # each question once, both answers
    assert page.count('alt="references') == page.count('alt="truth: ') == 5
    assert "moths/004" in page and 'id="show-worst"' in page and 'id="show-differing"' not in page


def test_what_cannot_be_drawn_is_said_and_the_tables_are_there(measured, tmp_path):
    (tmp_path / "moths/samples.jsonl").unlink()
    report = write_report([measured], tmp_path / "report")
    assert len(report.left_out) == 1 and report.left_out[0].startswith("gallery: --data")
    assert report.page.is_file()


def test_runs_in_folders_of_one_name_are_told_apart(fake_method, tmp_path):
    for kind in ("a", "b"):
        config = EvaluationConfig.of({"data": (str(write_set(tmp_path / kind / "set", 2)),), "method": "fake"})
        evaluate(config, tmp_path / kind / "run", FakeSegmenter)
    report = write_report([load_run(tmp_path / kind / "run") for kind in ("a", "b")], tmp_path / "report")
    for label in ("[run]", "[run_2]"):
        assert f"- fake (nano) {label}: " in (tmp_path / "report/report.md").read_text()
        assert f"<b>fake (nano) {label}</b>" in report.page.read_text()


@pytest.mark.parametrize("count", [2, 5])
def test_a_gallery_does_not_show_other_pictures_than_were_measured(measured, tmp_path, count):
    for path in (tmp_path / "moths").rglob("*.*"):
        path.unlink()
    write_set(tmp_path / "moths", count, task="shadow")
    index = tmp_path / "moths/samples.jsonl"
    index.write_text(index.read_text().replace("moths/00", "moths/99"))
    (reason,) = write_report([measured], tmp_path / "report").left_out
    assert "is no longer number" in reason and "of moths: the data have changed" in reason


def test_a_row_of_several_runs_tells_of_all(tmp_path):
    rows = [score_row("set", 0, "shadow", 0.5)]
    draws = [make_run(tmp_path / f"draw{seed}", rows, seed=seed) for seed in (0, 1)]
    (row,) = ours(table_11(draws))
    assert "draw0: set" in row.note and "draw1: set" in row.note and "seed 1" in row.note
    routes = [make_run(tmp_path / route, rows, route=route) for route in ("auto", "direct")]
    (row,) = ours(table_10(routes))
    assert row.note.count("1 questions") == 2 and "route direct" in row.note


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is no evaluation run: it has no run\.json"):
        load_run(tmp_path)
    with pytest.raises(InputError, match="A report needs at least one run"):
        write_report([], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Cannot write to .*file: File exists\. Choose another --out"):
        write_report([make_run(tmp_path / "run", [score_row("set", 0, "shadow", 0.5)])], tmp_path / "file")
    write_config(tmp_path, {"config": {"data": ["x"]}, "checkpoint": {}, "software": {}, "questions": {"x": 1}})
    with pytest.raises(InputError, match="has no rows yet"):
        load_run(tmp_path)

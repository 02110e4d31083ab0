"""`conceptseg demo`: its pictures are in order, and the page shows what came out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from conceptseg.data import load_sample
from conceptseg.interfaces.cli import demo, main
from conceptseg.interfaces.demo import arrange, demo_samples, run_episode, write_page
from conceptseg.interfaces.demo.episodes import FAILED
from tests.interfaces.fakes import FakeSegmenter


def test_there_are_real_photographs_and_scenes_of_every_level():
    samples = demo_samples()
    photographs = [sample for sample in samples if sample.id.startswith("photographs/")]
    assert len(photographs) >= 6 and {sample.level.value for sample in samples} == {"CI", "CD", "CR"}
    assert [s.level.value for s in samples] == sorted((s.level.value for s in samples), key=["CI", "CD", "CR"].index)
    for sample in photographs:
        loaded = load_sample(sample)
        assert sample.extra["credit"] and min(loaded.image.size) > 150
        assert 0.005 < loaded.mask.mean() < 0.8
        for reference in loaded.references:
            assert reference.mask.any()


def test_every_photograph_is_attributed_in_the_notice():
    notice = (Path(__file__).parents[2] / "NOTICE").read_text(encoding="utf-8")
    for sample in demo_samples():
        if sample.id.startswith("photographs/"):
            assert f"{Path(sample.image).name}" in notice


def test_the_demo_writes_a_page_a_sheet_and_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "load_segmenter", lambda args: FakeSegmenter())
    monkeypatch.setattr("conceptseg.interfaces.demo.demo_samples", lambda: demo_samples()[:2] + demo_samples()[-2:])
    assert main(["demo", "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    assert "photographs/cat" in printed and "mean IoU" in printed
    page = (tmp_path / "new" / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) == len(set(pictures)) >= 4 * 3
    for name in pictures:
        assert Image.open(tmp_path / "new" / name).width > 1
    assert Image.open(tmp_path / "new" / "contact_sheet.png").width > 300


def test_the_page_tells_route_rule_check_and_truth(nano, tmp_path):
    sample = next(s for s in demo_samples() if s.task == "common_consistency" and s.id.startswith("world/"))
    episode = run_episode(nano, sample, route="reason")
    page = write_page([episode], tmp_path, model="nano").read_text(encoding="utf-8")
    for shown in ("mosaic as the model sees it", "true rule", "with the true mask", "reference 4", "reasoned"):
        assert shown in page
    assert episode.result.check_iou is None or "withheld reference" in page
    assert 0 <= episode.iou <= 1 and episode.seconds > 0


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a & b"])
def test_texts_are_escaped(tmp_path, text):
    sample = demo_samples()[0]
    episode = run_episode(FakeSegmenter(), type(sample)("x/y", sample.task, text, sample.image, sample.mask))
    page = write_page([episode], tmp_path, model=text).read_text(encoding="utf-8")
    assert text not in page


def test_what_works_comes_first_and_failures_last_each_with_what_it_shows(tmp_path):
    samples = demo_samples()
    shown = [next(s for s in samples if s.id == f"photographs/{name}") for name in ("cat", "coins", "flower")]
    episodes = arrange([run_episode(FakeSegmenter(), sample) for sample in [*samples[-1:], *shown]])
    sections = [episode.section for episode in episodes]
    assert sections == sorted(sections, key=lambda section: (section == FAILED, not section.startswith("Photo")))
    assert all(episode.iou < 0.5 for episode in episodes if episode.section == FAILED)
    page = write_page(episodes, tmp_path, model="fake").read_text(encoding="utf-8")
    assert page.index(FAILED) > page.index("<article>") or sections[0] == FAILED
    for episode in episodes:
        assert episode.shows and episode.shows in page

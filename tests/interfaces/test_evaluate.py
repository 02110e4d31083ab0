"""`conceptseg evaluate`, `report` and `data` from the words to the exit status, with the bundled checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conceptseg.interfaces.cli.entry import ExitStatus, main
from tests.data.benchmarks import layouts
from tests.data.building.test_building import write_mig, write_species
from tests.evaluation.fakes import write_set

WORLD = "world:saliency,common_consistency:seen_test:2:3"


def evaluate(*words: object) -> int:
    return main(["evaluate", "--device", "cpu", *map(str, words)])


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(run.glob("rows-*")) for line in path.read_text().splitlines()]


def test_nano_on_a_world_and_a_folder_becomes_tables(nano, tmp_path, capsys):
    folder = write_set(tmp_path / "moths", 2)
    run = tmp_path / "run"
    assert evaluate("--data", WORLD, folder, "--out", run, "--route", "reason", "--batch-size", 3) == ExitStatus.DONE
    out = capsys.readouterr().out
    assert "| moths · camouflage | ours | 2 | 0 |" in out and f"| {WORLD} · saliency | ours | 2 | 0 |" in out
    rows = lines(run)
    assert len(rows) == 6 and all(row["route"] == "reasoned" and row["response"] is not None for row in rows)
    assert all({"encode", "reason", "decode"} <= row["timings"].keys() for row in rows)
    assert rows[0]["true_rule"] and rows[0]["check_iou"] is not None
    record = json.loads((run / "run.json").read_text())
    assert set(record["checkpoint"]["sha256"]) == {"home", "mllm", "sam"} and record["config"]["route"] == "reason"
    assert main(["report", f"mine={run}", "--out", str(tmp_path / "report")]) == ExitStatus.DONE
    page = (tmp_path / "report/report.md").read_text()
    assert page.startswith("# mine: mIoU ") and "| mine | ours [1] |" in page and "## Table 1" not in page
    assert "reasoning and mask, right or wrong (Appendix J)" in page
    assert (tmp_path / "report/figures/calibration_run.png").is_file()
    assert (tmp_path / "report/report.html").is_file()


def test_processes_take_their_parts_and_the_last_one_tells(nano, tmp_path, monkeypatch, capsys):
    def part(rank: int) -> str:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        words = ("--data", WORLD, "--out", tmp_path / "run", "--method", "sam3", "--batch-size", 2)
        assert evaluate(*words) == ExitStatus.DONE
        return capsys.readouterr().out

    assert "process 1 of 2 is done; 2 questions are left to others" in part(1)
    assert "common_consistency | ours | 2 | 0 |" in part(0)
    assert len(lines(tmp_path / "run")) == 4 and len(list((tmp_path / "run").glob("rows-*"))) == 2


def test_failures_are_listed_and_told_by_the_status(nano, tmp_path, capsys):
    folder = write_set(tmp_path / "moths", 2)
    (folder / "images/moths_001.png").write_bytes(b"no picture")
    status = evaluate("--data", folder, "--out", tmp_path / "run", "--route", "direct", "--no-masks")
    told = capsys.readouterr()
    assert status == ExitStatus.SOME_FAILED and "failed: moths: moths/001: " in told.err
    assert "| 2 | 1 | 50.0 |" in told.out and not (tmp_path / "run/masks").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere"), "is neither a folder with samples.jsonl"),
        (("--data", WORLD, "--method", "magic"), "Unknown method 'magic'"),
        (("--data", WORLD, "--batch-size", 0), "batch_size: expected greater than or equal to 1, got 0"),
        (("--data", WORLD, "--option", "x"), "expected KEY=VALUE"),
        (("--data", WORLD, "--integer-wfm"), "it goes with protocol paper"),
    ],
)
def test_a_wrong_request_is_one_line(nano, tmp_path, capsys, words, message):
    assert evaluate(*words, "--out", tmp_path / "run") == ExitStatus.WRONG_REQUEST
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_report_of_nothing_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == ExitStatus.WRONG_REQUEST
    assert "is no evaluation run" in capsys.readouterr().err


def test_benchmarks_are_listed_described_and_checked(tmp_path, capsys):
    assert main(["data", "list"]) == ExitStatus.DONE
    listed = capsys.readouterr().out
    assert "reasonseg" in listed and "train, val, test" in listed
    assert main(["data", "info", "esdis_sod"]) == ExitStatus.DONE
    assert "in the paper: test industrial_anomaly 717\n" in capsys.readouterr().out
    layouts.duts(tmp_path)
    assert main(["data", "check", "duts", str(tmp_path)]) == ExitStatus.SOME_FAILED
    assert "test   saliency                     2 of 5017 in the paper" in capsys.readouterr().out
    assert main(["data", "info", "magic"]) == ExitStatus.WRONG_REQUEST
    assert "Unknown benchmark 'magic'" in capsys.readouterr().err


def test_what_appendix_b_builds(nano, tmp_path, capsys):
    write_mig(tmp_path / "mig")
    assert main(["data", "build", "mig_bench", str(tmp_path / "mig"), "--least-quality", "0"]) == ExitStatus.DONE
    assert "masks kept; look through" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "mig/masks/manifest.json").read_text())["masks"]) == 4
    write_species(tmp_path / "species", 2)
    assert main(["data", "build", "inaturalist", str(tmp_path / "species")]) == ExitStatus.DONE
    assert "1 ultra-rare classes" in capsys.readouterr().out
    layouts.duts(tmp_path / "duts")
    words = ["data", "build", "duts", str(tmp_path / "duts")]
    assert main(words) == ExitStatus.WRONG_REQUEST
    assert "is used as it is shipped" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "selection")]) == ExitStatus.DONE
    assert (tmp_path / "selection/manifest.json").is_file()

"""Configurations and sample indexes as anybody may write them: a result, or an error of ours, and nothing else."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conceptseg.data import read_samples
from conceptseg.data.samples import ConceptSample
from conceptseg.errors import ConceptSegError
from conceptseg.training.config import MetaGRPOConfig, WarmupConfig
from conceptseg.training.config_reading import dump_config, load_config

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
        "0b2", "1_", ".inf", "\t", "\x00", "\ufeff", "---\n", "...\n", "%YAML 9\n",
    ]
)  # fmt: skip
TEXTS = st.lists(SCRAPS | st.text(string.printable, max_size=6), max_size=12).map("".join)
OVERRIDES = st.lists(st.builds("{}={}".format, st.sampled_from(WORDS) | st.text(max_size=8), TEXTS), max_size=3)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("id", "concept", "rule", "answer", "group", "split", "level"), VALUES | st.text(max_size=8)),
        "task": st.sampled_from(["saliency", "other_cd", "nothing"]) | VALUES,
        "image": st.sampled_from(["a.png", "../a.png", "/a.png", "a\0.png", "a" * 5000, "\ud800.png", "."]) | VALUES,
        "mask": st.sampled_from(["a.png", "b\0", "\udfff"]) | VALUES,
        "references": VALUES
        | st.lists(st.dictionaries(st.sampled_from(["image", "mask", "box"]), VALUES | st.just("a.png"))),
    },
)  # fmt: skip


def configure(stage, text, overrides, folder):
    """A configuration that reads back to itself, or an error of ours."""
    file = folder / "recipe.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config = load_config(stage, file, overrides)
    except ConceptSegError as error:
        assert str(error).strip()
        return
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(stage, file) == config


def index(lines, folder):
    """Samples, or an error of ours that has the line."""
    (folder / "a.png").touch()
    (folder / "samples.jsonl").write_bytes(lines)
    try:
        samples = read_samples(folder)
    except ConceptSegError as error:
        assert "line" in str(error)
        return
    assert all(isinstance(sample, ConceptSample) and sample.id.encode() for sample in samples)


MANY = settings(deadline=None, max_examples=20_000, suppress_health_check=list(HealthCheck))
SOME = settings(MANY, max_examples=150)


def check(strength):
    """The three tests at one strength."""

    @strength
    @given(stage=st.sampled_from(["warmup", "meta-grpo"]), text=TEXTS, overrides=OVERRIDES)
    def texts(tmp_path_factory, stage, text, overrides):
        configure(stage, text, overrides, tmp_path_factory.getbasetemp())

    @strength
    @given(stage=st.sampled_from(["warmup", "meta-grpo"]), values=st.dictionaries(st.sampled_from(WORDS), VALUES))
    def values_of_any_kind(tmp_path_factory, stage, values):
        configure(stage, json.dumps(values), [], tmp_path_factory.getbasetemp())

    @strength
    @given(lines=st.lists(ROWS.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=20), max_size=3))
    def rows(tmp_path_factory, lines):
        index(b"\n".join(lines), tmp_path_factory.getbasetemp())

    return texts, values_of_any_kind, rows


test_yaml_of_any_kind, test_values_of_any_kind, test_rows_of_any_kind = check(SOME)
test_much_yaml, test_many_values, test_many_rows = (pytest.mark.slow(test) for test in check(MANY))

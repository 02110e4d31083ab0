"""Half downloads, pickles and other damage, told from the headers alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from conceptseg.errors import CheckpointError
from conceptseg.models.tensor_files import INDEX_FILE, read_header, read_headers

TENSORS = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}


def write_index(folder: Path, weight_map: object) -> None:
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}))


def test_headers_tell_names_shapes_and_sizes(tmp_path: Path):
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = read_headers(tmp_path)
    assert {name: (info.shape, info.dtype, info.num_bytes, info.num_elements) for name, info in found.items()} == {
        "a": ((2, 3), "F32", 24, 6),
        "b": ((4,), "BF16", 8, 4),
    }


def test_shards_are_put_together(tmp_path: Path):
    save_file({"a": TENSORS["a"]}, tmp_path / "1.safetensors")
    save_file({"b": TENSORS["b"]}, tmp_path / "2.safetensors")
    write_index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    assert {name: info.file.name for name, info in read_headers(tmp_path).items()} == {
        "a": "1.safetensors",
        "b": "2.safetensors",
    }


def test_missing_shards_are_counted_and_named(tmp_path: Path):
    save_file({"a": TENSORS["a"]}, tmp_path / "1.safetensors")
    write_index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"})
    with pytest.raises(CheckpointError, match=r"2 of 3 files .* missing \(2\.safetensors; 3\.safetensors\)"):
        read_headers(tmp_path)


def test_a_tensor_that_no_shard_holds_is_named(tmp_path: Path):
    save_file({"a": TENSORS["a"]}, tmp_path / "1.safetensors")
    write_index(tmp_path, {"a": "1.safetensors", "b": "1.safetensors"})
    with pytest.raises(CheckpointError, match="b is in no shard"):
        read_headers(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index_is_told(tmp_path: Path, content: str):
    (tmp_path / INDEX_FILE).write_text(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        read_headers(tmp_path)


def test_an_index_cannot_point_outside_its_folder(tmp_path: Path):
    write_index(tmp_path, {"a": "../other.safetensors"})
    with pytest.raises(CheckpointError, match="names files outside its folder"):
        read_headers(tmp_path)


def test_every_damaged_shard_is_named(tmp_path: Path):
    save_file({"a": TENSORS["a"]}, tmp_path / "1.safetensors")
    whole = (tmp_path / "1.safetensors").read_bytes()
    (tmp_path / "1.safetensors").write_bytes(whole[:-1])
    (tmp_path / "2.safetensors").write_bytes(b"")
    (tmp_path / "3.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    write_index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"})
    with pytest.raises(CheckpointError) as caught:
        read_headers(tmp_path)
    message = str(caught.value)
    assert f"1.safetensors is cut short ({len(whole) - 1} of {len(whole)} bytes)" in message
    assert "2.safetensors is empty (0 bytes)" in message
    assert "3.safetensors is a Git LFS pointer" in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "sam3.pt", "model.pth", "last.ckpt"])
def test_pickles_are_never_an_answer(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"only as pickle files \({name}\)"):
        read_headers(tmp_path)


def test_an_empty_folder_holds_no_weights(tmp_path: Path):
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_headers(tmp_path)


@pytest.mark.parametrize(
    "header", [b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}', b"\xff\xfe"]
)
def test_a_header_that_is_none(tmp_path: Path, header: bytes):
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        read_header(tmp_path / "x")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cut=st.integers(min_value=0), junk=st.binary(max_size=40))
def test_any_damage_is_a_checkpoint_error(tmp_path: Path, cut: int, junk: bytes):
    file = tmp_path / "model.safetensors"
    save_file(TENSORS, file)
    whole = file.read_bytes()
    for content in (whole[: cut % len(whole)], junk):
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.safetensors is"):
            read_header(file)

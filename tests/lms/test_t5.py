"""T5 by layers: equal to transformers in every form it is saved in; what is no original T5, or is damaged, is refused."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from superscope import lms
from superscope.lms.model import t5

SMALL = {"d_model": 24, "d_ff": 80, "d_kv": 8, "num_heads": 3, "num_layers": 3, "vocab_size": 61,
         "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}  # fmt: skip
TOKENS = torch.randint(61, (3, 50), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**SMALL)).eval()


@pytest.fixture(scope="module")
def saved(theirs, tmp_path_factory):
    """Folders: safetensors whole and in shards, and the same as torch files."""
    root = tmp_path_factory.mktemp("t5")
    theirs.save_pretrained(root / "whole")
    theirs.save_pretrained(root / "shards", max_shard_size="20KB")
    for form in ("whole", "shards"):
        made = root / f"{form}-bin"
        made.mkdir()
        shutil.copy(root / form / "config.json", made)
        for path in (root / form).glob("*.safetensors"):
            name = path.name.replace("model", "pytorch_model").replace(".safetensors", ".bin")
            torch.save(safetensors.torch.load_file(path), made / name)
        if form == "shards":
            index = (root / form / "model.safetensors.index.json").read_text()
            index = index.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
            (made / "pytorch_model.bin.index.json").write_text(index)
    return root


@pytest.mark.parametrize("form", ["whole", "shards", "whole-bin", "shards-bin"])
def test_every_layer_is_what_transformers_computes(theirs, saved, form):
    seen = {}
    for layer, block in enumerate(theirs.encoder.block):
        part = block.layer[1]
        part.layer_norm.register_forward_hook(lambda m, i, o, k=layer: seen.__setitem__(f"inputs {k}", o))
        part.DenseReluDense.act.register_forward_hook(lambda m, i, o, k=layer: seen.__setitem__(f"hidden {k}", o))
    with torch.no_grad():
        out = theirs.encoder(input_ids=TOKENS, output_hidden_states=True)
    encoder = t5.open_t5(saved / form)
    for layer in range(3):
        stream = encoder.residual(TOKENS, layer)
        torch.testing.assert_close(stream, out.hidden_states[layer], atol=1e-5, rtol=0)
        after, part = encoder.attended(layer, stream), encoder.feed_forward(layer)
        torch.testing.assert_close(part.inputs(after), seen[f"inputs {layer}"], atol=1e-5, rtol=0)
        torch.testing.assert_close(part.hidden(after), seen[f"hidden {layer}"], atol=1e-5, rtol=0)
        torch.testing.assert_close(
            part.hidden(after, torch.tensor([7, 3])), seen[f"hidden {layer}"][..., [7, 3]], atol=1e-5, rtol=0
        )
    last = t5.FeedForward(encoder.tensor("encoder.final_layer_norm.weight", 24), part.w_in, part.w_out, 1e-6)
    torch.testing.assert_close(last.inputs(encoder.residual(TOKENS, 3)), out.last_hidden_state, atol=1e-5, rtol=0)


def test_small_pieces_compute_the_same(saved, monkeypatch):
    encoder = t5.open_t5(saved / "whole")
    whole = encoder.residual(TOKENS, 3)
    monkeypatch.setattr(t5, "_CHUNK", 100)
    torch.testing.assert_close(encoder.residual(TOKENS, 3), whole, atol=1e-5, rtol=0)


def test_half_precision_weights_are_read_as_float32(theirs, tmp_path):
    theirs_half = {k: v.to(torch.bfloat16) for k, v in theirs.state_dict().items() if k.startswith(("shared", "encoder.block"))}
    _config(tmp_path / "half")
    safetensors.torch.save_file({k: v.clone() for k, v in theirs_half.items()}, tmp_path / "half" / "model.safetensors")
    part = t5.open_t5(tmp_path / "half").feed_forward(1)
    assert part.w_in.dtype == torch.float32
    torch.testing.assert_close(
        part.w_in, theirs.encoder.block[1].layer[1].DenseReluDense.wi.weight.detach(), atol=0.01, rtol=0.01
    )


def _config(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", **SMALL, **changes}))
    return folder


# ----------------------------------------------------------------------------------------------------- goes on after a kill


def test_work_that_was_killed_goes_on_at_the_layer_it_had_reached(saved, tmp_path):
    encoder = t5.open_t5(saved / "shards")
    whole = encoder.residual(TOKENS, 3)

    class KilledError(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        encoder.residual(TOKENS, 3, tmp_path, stop)
    steps = []
    torch.testing.assert_close(encoder.residual(TOKENS, 3, tmp_path, lambda *step: steps.append(step)), whole, atol=0, rtol=0)
    assert steps == [(2, 3), (3, 3)]
    # another text, or a damaged file, is never gone on from
    other = TOKENS.flip(0)
    torch.testing.assert_close(encoder.residual(other, 3, tmp_path), encoder.residual(other, 3), atol=0, rtol=0)
    path = tmp_path / "residual.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    torch.testing.assert_close(encoder.residual(other, 3, tmp_path), encoder.residual(other, 3), atol=0, rtol=0)


def test_reading_one_layer_leaves_the_others_unread(saved, tmp_path):
    """All shards but those of one layer may be absent."""
    shutil.copytree(saved / "shards", tmp_path / "part")
    index = json.loads((tmp_path / "part" / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {file for name, file in index.items() if name.startswith("encoder.block.2.layer.1")}
    for path in (tmp_path / "part").glob("*.safetensors"):
        if path.name not in needed:
            path.unlink()
    encoder = t5.open_t5(tmp_path / "part")
    assert encoder.feed_forward(2).w_in.shape == (80, 24)
    with pytest.raises(lms.ModelError, match=r"is missing, and holds 'encoder.block.0.layer.1"):
        encoder.feed_forward(0)


# ------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feed_forward_proj": "gated-gelu"}, "feed_forward_proj 'gated-gelu', the shape of T5 v1.1"),
        ({"feed_forward_proj": "gelu"}, "reads the original T5"),
        ({"model_type": "mt5"}, "model_type 'mt5'"),
        ({"d_ff": "80"}, "d_ff = '80': a whole number above 0"),
        ({"num_layers": True}, "num_layers = True"),
        ({"d_model": 0}, "d_model = 0"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon = 0"),
    ],
)
def test_configs_that_are_not_the_original_t5(tmp_path, changes, said):
    with pytest.raises(lms.ModelError) as error:
        t5.open_t5(_config(tmp_path / "bad", **changes))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_that_hold_no_t5(tmp_path):
    with pytest.raises(lms.ModelError, match="no folder '/nowhere/t5-11b': put a T5"):
        t5.open_t5("/nowhere/t5-11b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(lms.ModelError, match="no T5 folder"):
        t5.open_t5(tmp_path / "empty")
    with pytest.raises(lms.ModelError, match="holds no weights"):
        t5.open_t5(_config(tmp_path / "weightless"))
    (tmp_path / "empty" / "config.json").write_text("[1")
    with pytest.raises(lms.ModelError, match="no T5 folder"):
        t5.open_t5(tmp_path / "empty")


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "..", "a/b.bin", "model.pkl", 3])
def test_an_index_that_points_out_of_the_folder(saved, tmp_path, shard):
    shutil.copytree(saved / "shards", tmp_path / "escape")
    index = tmp_path / "escape" / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["shared.weight"] = shard
    index.write_text(json.dumps(document))
    with pytest.raises(lms.ModelError, match=r"names the shard|no index of shards"):
        t5.open_t5(tmp_path / "escape")


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {}}', '{"weight_map": 3}', "{}"])
def test_a_damaged_index(tmp_path, text):
    folder = _config(tmp_path / "index")
    (folder / "pytorch_model.bin.index.json").write_text(text)
    with pytest.raises(lms.ModelError, match="no index of shards"):
        t5.open_t5(folder)


def _changed(saved, folder, name, value):
    """The whole model with one tensor changed, or left out."""
    state = safetensors.torch.load_file(saved / "whole" / "model.safetensors")
    state.pop(name)
    if value is not None:
        state[name] = value
    safetensors.torch.save_file(state, _config(folder) / "model.safetensors")
    return t5.open_t5(folder)


WI = "encoder.block.1.layer.1.DenseReluDense.wi.weight"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "has no tensor"),
        (torch.zeros(24, 80), r"has shape \(24, 80\), config.json asks for \(80, 24\)"),
        (torch.zeros(80, 24, dtype=torch.int32), "not floating-point"),
        (torch.full((80, 24), float("inf")), "not finite"),
        (torch.full((80, 24), float("nan")), "not finite"),
    ],
)
def test_tensors_that_cannot_be_meant(saved, tmp_path, value, said):
    encoder = _changed(saved, tmp_path / "changed", WI, value)
    assert encoder.feed_forward(0).w_in.shape == (80, 24)
    with pytest.raises(lms.ModelError, match=said):
        encoder.feed_forward(1)


def test_weights_of_v1_1_behind_an_old_config_are_named(saved, tmp_path):
    encoder = _changed(saved, tmp_path / "gated", WI, None)
    encoder.files[WI.replace("wi", "wi_0")] = encoder.files["shared.weight"]
    with pytest.raises(lms.ModelError, match=r"it has wi_0: T5 v1.1, another shape"):
        encoder.feed_forward(1)


class _Code:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_torch_files_with_more_than_weights(tmp_path):
    folder, mark = _config(tmp_path / "code"), tmp_path / "was-run"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Code(mark)))
    with pytest.raises(lms.ModelError, match=r"cannot be read as plain weights|old format"):
        t5.open_t5(folder)
    torch.save({"shared.weight": _Code(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(lms.ModelError, match="cannot be read as plain weights"):
        t5.open_t5(folder)
    torch.save({"shared.weight": 3}, folder / "pytorch_model.bin")
    with pytest.raises(lms.ModelError, match="more than named tensors"):
        t5.open_t5(folder)
    torch.save({"shared.weight": torch.zeros(2)}, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(lms.ModelError, match="old format, which cannot be memory-mapped: convert it"):
        t5.open_t5(folder)
    assert not mark.exists()


def test_pointers_and_files_cut_short(saved, tmp_path):
    folder = _config(tmp_path / "cut")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(lms.ModelError, match="git-lfs pointer"):
        t5.open_t5(folder)
    (folder / "model.safetensors").write_bytes((saved / "whole" / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(lms.ModelError, match="is damaged"):
        t5.open_t5(folder)


def test_tokens_and_layers_that_are_not_there(saved):
    encoder = t5.open_t5(saved / "whole")
    with pytest.raises(lms.ModelError, match="token 61 is not in the vocabulary of 61"):
        encoder.residual(torch.tensor([[3, 61]]), 1)
    with pytest.raises(lms.ModelError, match=r"layer 3 of .*layers 0 to 2"):
        encoder.feed_forward(3)
    with pytest.raises(lms.ModelError, match="layer -1"):
        encoder.residual(TOKENS, -1)


# --------------------------------------------------------------------------------------------------- the size of T5-11B

_PROBE = """
import sys
import torch
from superscope.lms.model import t5
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
encoder = t5.open_t5(sys.argv[1])
torch.zeros(8, 8) @ torch.zeros(8, 8)
before = peak()
part = encoder.feed_forward(1)
assert part.w_in.shape == part.w_out.shape == (encoder.sizes.d_ff, encoder.sizes.d_model)
print(peak() - before, encoder.planned(0, 0, whole=False))
"""


def full_shape(folder, d_ff):
    """Layer 1 of a T5 of 1,024 dimensions in bfloat16, each matrix in a shard of its own, and other large shards beside it."""
    folder.mkdir()
    config = {
        "model_type": "t5",
        "d_model": 1024,
        "d_ff": d_ff,
        "d_kv": 128,
        "num_heads": 128,
        "num_layers": 24,
        "vocab_size": 32128,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    place = "encoder.block.1.layer.1."
    state = {
        f"{place}DenseReluDense.wi.weight": torch.randn(d_ff, 1024, generator=generator) / 32,
        f"{place}DenseReluDense.wo.weight": torch.randn(1024, d_ff, generator=generator) / d_ff**0.5,
        f"{place}layer_norm.weight": torch.ones(1024),
    }
    names = {}
    for number, (name, value) in enumerate(state.items(), start=1):
        names[name] = f"model-{number:05d}-of-00003.safetensors"
        safetensors.torch.save_file({name: value.to(torch.bfloat16)}, folder / names[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return folder


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "d_ff",
    [
        4096,
        pytest.param(
            65536, marks=pytest.mark.skipif(not os.environ.get("SUPERSCOPE_LARGE"), reason="1.5 GB; SUPERSCOPE_LARGE=1")
        ),
    ],
)
def test_a_layer_of_1024_dimensions_needs_the_memory_that_was_said(tmp_path, d_ff):
    folder = full_shape(tmp_path / "t5-11b", d_ff)
    done = subprocess.run([sys.executable, "-c", _PROBE, str(folder)], capture_output=True, text=True, check=True)
    used, planned = map(int, done.stdout.split())
    assert used < 1.2 * planned + 60 * 2**20
    assert planned < 8 * 2**30
    if d_ff == 65536:
        assert used > 0.3 * planned


def test_the_plan_covers_the_whole_of_t5_11b(tmp_path):
    sizes = t5.T5Sizes(1024, 65536, 128, 128, 24, 32128, 32, 128, 1e-6)
    encoder = t5.T5Encoder(tmp_path, sizes, {})
    assert encoder.planned(40, 127) < 8 * 2**30
    assert encoder.planned(4000, 127) > encoder.planned(40, 127)
    assert np.isfinite(encoder.planned(1, 1))

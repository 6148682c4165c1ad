"""One encoder layer of a T5 at a time, read from a folder saved by `transformers`, however large the whole is.

`open_t5(folder)` reads config.json and the names of the tensors; a tensor is read, and only it, when it is asked for: by memory
map from safetensors, or from `torch.save` files in which torch is allowed to find weights alone. `residual` runs text through
the encoder with one layer in memory at a time, so the 4.8 billion parameters of T5-11B's encoder need the memory of 0.2. All
computing is in float32 and equals `transformers`' T5EncoderModel.

The original T5 (Raffel et al. 2020, arXiv 1910.10683): ReLU, RMS norm, relative positions from the first layer, no biases, no
scaling of the attention. Its 11-billion-parameter form has d_model 1,024 and d_ff 65,536. The later v1.1 and its XXL (d_model
4,096, d_ff 10,240, gated) are another shape and are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from superscope import checkpoint, opened, store
from superscope.lms import shelf
from superscope.lms.model import folders
from superscope.lms.shelf import ModelError

_BLOCK = "encoder.block.{}.layer."
_BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
_CHUNK = 2**26  # numbers in the largest intermediate array of a feed-forward layer or of attention


@dataclass(frozen=True)
class T5Sizes:
    """The fields of config.json that decide what an encoder computes."""

    d_model: int
    d_ff: int
    d_kv: int
    n_heads: int
    n_layers: int
    vocabulary: int
    buckets: int
    distance: int
    epsilon: float


def read_sizes(folder: Path) -> T5Sizes:
    """config.json of a T5 folder; ModelError for anything that is not the original T5."""
    try:
        config = store.read_json(folder / "config.json")
    except store.StoreError as error:
        raise ModelError(f"{folder} is no T5 folder ({error}): give a folder saved by transformers' save_pretrained") from None
    kind = config.get("model_type") if isinstance(config, Mapping) else None
    if kind != "t5":
        raise ModelError(f"{folder}/config.json has model_type {kind!r}: this reader reads 't5'")
    act = config.get("feed_forward_proj", "relu")
    if act != "relu" or config.get("is_gated_act") or config.get("dense_act_fn", "relu") != "relu":
        raise ModelError(
            f"{folder}/config.json has feed_forward_proj {act!r}, the shape of T5 v1.1 (gated, another d_ff): this reader "
            "reads the original T5, whose feed_forward_proj is 'relu', such as t5-11b"
        )
    fields = {
        "d_model": "d_model", "d_ff": "d_ff", "d_kv": "d_kv", "n_heads": "num_heads", "n_layers": "num_layers",
        "vocabulary": "vocab_size", "buckets": "relative_attention_num_buckets", "distance": "relative_attention_max_distance",
    }  # fmt: skip
    config = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, **config}
    for name in fields.values():
        if type(config.get(name)) is not int or config[name] < 1:
            raise ModelError(f"{folder}/config.json has {name} = {config.get(name)!r}: a whole number above 0 is needed")
    epsilon = config.get("layer_norm_epsilon", 1e-6)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise ModelError(f"{folder}/config.json has layer_norm_epsilon = {epsilon!r}: a number between 0 and 1 is needed")
    return T5Sizes(**{ours: config[theirs] for ours, theirs in fields.items()}, epsilon=float(epsilon))


def tensor_files(folder: Path) -> dict[str, Path]:
    """Name of every tensor of a folder -> its file. Reads headers and the index only (of one .bin file, the pickle)."""
    for index in (folder / "model.safetensors.index.json", folder / "pytorch_model.bin.index.json"):
        if index.is_file():
            return _indexed(folder, index)
    if (one := folder / "model.safetensors").is_file():
        from safetensors import safe_open

        folders.check_files(folder, [one])
        with safe_open(one, framework="pt") as file:
            return dict.fromkeys(file.keys(), one)
    if (one := folder / "pytorch_model.bin").is_file():
        folders.check_files(folder, [one])
        return dict.fromkeys(_mapped(one), one)
    raise ModelError(
        f"{folder} holds no weights: neither model.safetensors nor pytorch_model.bin, nor the index of their shards"
    )


def _indexed(folder: Path, index: Path) -> dict[str, Path]:
    try:
        where = store.read_json(index)["weight_map"]
        names = sorted(set(where.values()))
        if not names:
            raise ValueError("it names no tensors")
    except (store.StoreError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{index} is no index of shards ({folders.one_line(error)}): fetch it again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".", "..") or "\\" in name:
            raise ModelError(f"{index} names the shard {name!r}: shards must be plain file names beside it")
        if Path(name).suffix not in (".safetensors", ".bin"):
            raise ModelError(f"{index} names the shard {name!r}: neither .safetensors nor .bin")
    return {str(tensor): folder / name for tensor, name in where.items()}


def _mapped(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch file by memory map: nothing is read before it is used, and nothing is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # pickle, zip and torch errors alike
        said = folders.one_line(error)
        if "mmap can only be used" in said:
            raise ModelError(
                f"{path} is in torch's old format, which cannot be memory-mapped: convert it once with "
                "torch.save(torch.load(path, weights_only=True), path), or take safetensors"
            ) from None
        raise ModelError(f"{path} cannot be read as plain weights ({said}): take safetensors") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path} holds more than named tensors: save only the model's state_dict()")
    return dict(state)


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward part of an encoder layer: w_in (d_ff, d), w_out (d_ff, d), one row a neuron; norm (d,)."""

    norm: Tensor
    w_in: Tensor
    w_out: Tensor
    epsilon: float

    def inputs(self, residual: Tensor) -> Tensor:
        """(..., d) what the neurons read of the residual stream (..., d) after attention."""
        return _rms(residual, self.norm, self.epsilon)

    def hidden(self, residual: Tensor, which: Tensor | None = None) -> Tensor:
        """(..., d_ff) activations, or those of some neurons."""
        return torch.relu(self.inputs(residual) @ (self.w_in if which is None else self.w_in[which]).T)

    def __call__(self, residual: Tensor) -> Tensor:
        """(..., d) the residual stream after it, in pieces of bounded memory."""
        flat = residual.reshape(-1, residual.shape[-1])
        out = torch.empty_like(flat)
        size = max(1, _CHUNK // len(self.w_in))
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            out[start : start + size] = part + self.hidden(part) @ self.w_out
        return out.reshape(residual.shape)


@dataclass(frozen=True)
class T5Encoder:
    """The encoder in a folder. files: name of a tensor -> where it is."""

    folder: Path
    sizes: T5Sizes
    files: dict[str, Path]

    def tensor(self, name: str, *shape: int) -> Tensor:
        """One tensor as float32; ModelError when it is missing, of another shape, no floating-point, or not finite."""
        path = self.files.get(name)
        if path is None:
            other = " (it has wi_0: T5 v1.1, another shape)" if any("wi_0" in one for one in self.files) else ""
            raise ModelError(f"{self.folder} has no tensor {name!r}{other}: its weights do not fit its config.json")
        if not path.is_file():
            raise ModelError(f"{path} is missing, and holds {name!r}: fetch this shard")
        if path.suffix == ".bin":
            folders.check_files(self.folder, [path])
            state = _mapped(path)
            found = state.get(name)
            del state
        else:
            found = _from_safetensors(path, name)
        if found is None:
            raise ModelError(f"{path} does not hold {name!r}, as the index says it does: fetch both again")
        if tuple(found.shape) != shape:
            raise ModelError(f"{path}: {name} has shape {tuple(found.shape)}, config.json asks for {shape}")
        if not found.is_floating_point():
            raise ModelError(f"{path}: {name} holds {found.dtype}, not floating-point numbers")
        value = found.float().contiguous()
        if not bool(value.isfinite().all()):
            raise ModelError(f"{path}: {name} holds numbers that are not finite: fetch it again")
        return value

    def planned(self, rows: int, length: int, whole: bool = True) -> int:
        """Bytes at the peak of `residual` for (rows, length) tokens, or (whole=False) of one `feed_forward`; of sizes alone."""
        s = self.sizes
        inner = s.n_heads * s.d_kv
        mlp = 2 * s.d_model * s.d_ff
        if not whole:
            return 4 * 2 * mlp  # the matrix that is transposed, and the stored copy, are there twice for a while
        tokens = rows * length
        group = min(rows, self._group(length))
        scores = group * (3 * s.n_heads * length**2 + 5 * length * inner) + s.n_heads * length**2
        attention = 6 * s.d_model * inner + scores
        forward = 2 * mlp + 2 * min(_CHUNK, tokens * s.d_ff)
        embedding = 2 * s.vocabulary * s.d_model
        return 4 * (3 * tokens * s.d_model + max(attention, forward, embedding))

    def _group(self, length: int) -> int:
        """Rows attended to at once."""
        return max(1, _CHUNK // max(self.sizes.n_heads * length**2, length * self.sizes.n_heads * self.sizes.d_kv))

    def feed_forward(self, layer: int) -> FeedForward:
        """The feed-forward part of one encoder layer, and nothing else of the checkpoint."""
        s, place = self._checked(layer), f"{_BLOCK.format(layer)}1."
        norm = self.tensor(f"{place}layer_norm.weight", s.d_model)
        w_in = self.tensor(f"{place}DenseReluDense.wi.weight", s.d_ff, s.d_model)
        w_out = self.tensor(f"{place}DenseReluDense.wo.weight", s.d_model, s.d_ff).T.contiguous()
        return FeedForward(norm, w_in, w_out, s.epsilon)

    def embedded(self, tokens: Tensor) -> Tensor:
        """(row, n, d) the residual stream before the first layer."""
        s = self.sizes
        if tokens.ndim != 2 or not tokens.numel():
            raise ModelError(f"tokens have shape {tuple(tokens.shape)}: expected (row, position)")
        low, high = int(tokens.min()), int(tokens.max())
        if low < 0 or high >= s.vocabulary:
            raise ModelError(f"token {low if low < 0 else high} is not in the vocabulary of {s.vocabulary} of {self.folder}")
        name = "shared.weight" if "shared.weight" in self.files else "encoder.embed_tokens.weight"
        return self.tensor(name, s.vocabulary, s.d_model)[tokens]

    def attended(self, layer: int, residual: Tensor) -> Tensor:
        """(row, n, d) the residual stream between attention and feed-forward of a layer, from that before it."""
        s, place = self._checked(layer), f"{_BLOCK.format(layer)}0."
        rows, n, d = residual.shape
        inner = s.n_heads * s.d_kv
        norm = self.tensor(f"{place}layer_norm.weight", d)
        q, k, v = (self.tensor(f"{place}SelfAttention.{one}.weight", inner, d) for one in "qkv")
        o = self.tensor(f"{place}SelfAttention.o.weight", d, inner)
        bias = self.tensor(_BIAS, s.buckets, s.n_heads)[_buckets(n, s.buckets, s.distance)].permute(2, 0, 1)
        out, size = torch.empty_like(residual), self._group(n)
        for start in range(0, rows, size):
            part = residual[start : start + size]
            x = _rms(part, norm, s.epsilon)
            heads = [(x @ m.T).view(len(part), n, s.n_heads, s.d_kv).transpose(1, 2) for m in (q, k, v)]
            pattern = (heads[0] @ heads[1].transpose(2, 3) + bias).softmax(dim=-1)
            read = (pattern @ heads[2]).transpose(1, 2).reshape(len(part), n, inner)
            out[start : start + size] = part + read @ o.T
        return out

    @torch.inference_mode()
    def residual(
        self,
        tokens: Tensor,
        layer: int,
        keep: Path | None = None,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """(row, n, d) the residual stream before `layer` (n_layers: after the last), one layer in memory at a time.

        keep: a folder in which the stream is put down after every layer, so that work which was killed goes on there.
        advance: is told (layers done, layers) for a progress bar.
        """
        self._checked(layer, last=self.sizes.n_layers)
        path = None if keep is None else keep / "residual.safetensors"
        key = store.digest([self.fingerprint, tokens.tolist()])
        done, stream = _kept(path, key, layer)
        if stream is None:
            done, stream = 0, self.embedded(tokens)
        advance(done, layer)
        for one in range(done, layer):
            stream = self.feed_forward(one)(self.attended(one, stream))
            if path is not None:
                checkpoint.write(path, {"key": key, "layer": one + 1}, {"residual": stream})
            advance(one + 1, layer)
        return stream

    @property
    def fingerprint(self) -> str:
        """Digest of the config and of name, size and time of every file: contents of 45 GB are not read for it."""
        files = sorted(set(self.files.values()))
        seen = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files if path.is_file()]
        return store.digest([store.plain(vars(self.sizes)), seen])

    def _checked(self, layer: int, last: int | None = None) -> T5Sizes:
        most = self.sizes.n_layers - 1 if last is None else last
        if not 0 <= layer <= most:
            raise ModelError(f"layer {layer} of {self.folder}: the encoder has layers 0 to {self.sizes.n_layers - 1}")
        return self.sizes


def open_t5(folder: Path | str) -> T5Encoder:
    """The encoder in a folder saved by `transformers`: reads names only, no weights. ModelError with what to do.

    A config.json with a "sha256" (T5s that superscope trained) is held to it.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ModelError(f"no folder {str(folder)!r}: put a T5 saved by transformers there (config.json beside its weights)")
    sizes = read_sizes(place)
    promised = json.loads((place / "config.json").read_bytes()).get("sha256")
    if promised is not None:
        try:
            store.read_bytes(place / "model.safetensors", str(promised))
        except store.StoreError as error:
            raise ModelError(f"{error}: install superscope again, or fetch the folder again") from None
        opened.note("model", str(place), shelf.digest(str(place)))
    return T5Encoder(place, sizes, tensor_files(place))


def _from_safetensors(path: Path, name: str) -> Tensor | None:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found: Tensor | None = file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118 - no dictionary
            return found
    except Exception as error:  # safetensors raises its own kinds
        raise ModelError(f"{path} is damaged ({folders.one_line(error)}): fetch it again") from None


def _kept(path: Path | None, key: str, layer: int) -> tuple[int, Tensor | None]:
    """The last stream put down for this text at or before `layer`; nothing when it is damaged or another's."""
    if path is None or not path.exists():
        return 0, None
    try:
        document, tensors = checkpoint.read(path)
    except store.StoreError:
        return 0, None
    fits = document.get("key") == key and document["layer"] <= layer
    return (int(document["layer"]), tensors["residual"]) if fits else (0, None)


def _rms(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))


def _buckets(n: int, buckets: int, most: int) -> Tensor:
    """(query, key) bucket of their distance: both directions, exact when near, then logarithmic (Raffel et al. 2020)."""
    half = buckets // 2
    exact = half // 2
    offset = torch.arange(n)[None, :] - torch.arange(n)[:, None]
    far = offset.abs()
    log = exact + (torch.log(far.float() / exact) / math.log(most / exact) * (half - exact)).to(torch.long)
    return (offset > 0).long() * half + torch.where(far < exact, far, log.clamp(max=half - 1))

"""The native engine: kernel.c, compiled once per shape on first use and called through ctypes.

It needs a C compiler at run time, never at install time. Without one `available()` says why, and `engine="auto"` uses torch.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from superscope.sweep.points import PointBlock
from superscope.sweep.recipe import Recipe
from superscope.toys import TwoLayer

SOURCE = Path(__file__).with_name("kernel.c")
KINDS = {"identity": 0, "relu": 1, "gelu": 2, "silu": 3, "softplus": 4, "tanh": 5}


def lanes() -> int:
    """Networks in one SIMD register of this processor: 16 floats with AVX-512, 8 on other x86, 4 elsewhere (NEON).

    A network's numbers do not depend on it: every lane computes for itself.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return 4
    try:
        with open("/proc/cpuinfo") as f:
            flags = next((line.split() for line in f if line.startswith("flags")), [])
    except OSError:
        flags = []
    return 16 if "avx512f" in flags else 8


LANES = lanes()
FLAGS = ("-O3", "-fno-math-errno", "-ffp-contract=fast", "-fno-trapping-math", "-shared", "-fPIC")


class FusedUnavailableError(RuntimeError):
    """The native engine cannot run here; the message says why and what to do."""


class _Points(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("offset", "index", "value", "dense", "target", "weight")]


@functools.cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: a folder that nobody else may write to, or a fresh one for this process alone.

    What lies in it is executed. The user's cache is taken when it can be made and is the user's own; else (no home, a
    read-only one, a cache shared with others) a private temporary folder, removed at exit.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        folder = (Path(base) if base else Path.home() / ".cache") / "superscope" / "kernels"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and os.lstat(folder).st_uid == os.getuid():
            folder.chmod(0o700)  # what others put there while they could is known by its owner: see `private`
        if private(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    temporary = tempfile.mkdtemp(prefix="superscope-kernels-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def private(path: Path) -> bool:
    """Does `path` belong to this user (or to root), with nobody else allowed to write to it? Links are not followed."""
    if not hasattr(os, "getuid"):
        return True
    facts = os.lstat(path)
    return not stat.S_ISLNK(facts.st_mode) and facts.st_uid in (os.getuid(), 0) and not facts.st_mode & 0o022


@functools.cache
def compiler() -> str | None:
    """The C compiler that will be used, or None."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    return None


def available() -> tuple[bool, str]:
    """Whether the native engine can be used here, and why not."""
    if compiler() is None:
        return False, "no C compiler found (set CC, or install gcc or clang)"
    try:
        _library(
            (
                "N=1",
                "M=1",
                "O=1",
                "TIED=1",
                "HIDDEN_BIAS=0",
                "OUTPUT_BIAS=1",
                "DROPOUT=0",
                "HIDDEN_ACT=0",
                "OUTPUT_ACT=1",
            )
        )
    except FusedUnavailableError as error:
        return False, str(error)
    return True, f"compiled by {compiler()}"


def worthwhile(toy: TwoLayer, lanes: int) -> bool:
    """Whether the kernel beats the torch engine: its gradients must stay in cache and its lanes must not stay empty."""
    parameters = toy.n_features * toy.n_hidden * (1 if toy.tied else 2)
    return parameters <= 8192 and lanes * 2048 >= parameters


@functools.cache
def _machine() -> str:
    """What -march=native may mean here: compiled kernels are not shared between different processors."""
    try:
        with open("/proc/cpuinfo") as f:
            lines = [line for line in f if line.startswith(("model name", "flags"))][:2]
    except OSError:
        lines = [platform.processor()]
    return platform.machine() + "".join(lines)


@functools.cache
def _library(macros: tuple[str, ...]) -> ctypes.CDLL:
    cc = compiler()
    if cc is None:
        raise FusedUnavailableError("the fused engine needs a C compiler: set CC, install gcc or clang, or use engine='torch'")
    key = hashlib.sha256("\n".join([SOURCE.read_text(), str(LANES), *macros, *FLAGS, cc, _machine()]).encode()).hexdigest()[:24]
    path = cache_folder() / f"{key}.so"
    if not (path.exists() and private(path)):
        _compile(cc, macros, path)  # a kernel of somebody else's is replaced, never executed
    try:
        lib = ctypes.CDLL(str(path))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise FusedUnavailableError(
            f"the compiled kernel could not be loaded ({error}); run again, or use engine='torch'"
        ) from error
    c_int, ptr, real = ctypes.c_int, ctypes.c_void_p, ctypes.c_float
    lib.train.argtypes = [c_int, c_int, c_int, ptr, ptr, ptr, real, real, real, real, real, real, ptr, ptr, ptr, ptr]
    lib.evaluate.argtypes = [c_int, c_int, ptr, real, real, ptr, ptr]
    lib.train.restype = lib.evaluate.restype = None
    return lib


def _compile(cc: str, macros: tuple[str, ...], path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError as error:
        raise FusedUnavailableError(
            f"no kernel can be stored in {path.parent} ({error.strerror}): set XDG_CACHE_HOME, or use engine='torch'"
        ) from error
    os.close(handle)
    base = [cc, *FLAGS, f"-DLANES={LANES}", *(f"-D{m}" for m in macros), str(SOURCE), "-lm", "-o", temporary]
    try:
        for native in (["-march=native", "-mprefer-vector-width=512"], ["-march=native"], []):
            done = subprocess.run([base[0], *native, *base[1:]], capture_output=True, text=True)
            if done.returncode == 0:
                os.chmod(temporary, 0o700)
                try:
                    os.replace(temporary, path)
                except OSError as error:
                    raise FusedUnavailableError(f"the kernel cannot be stored as {path} ({error.strerror})") from error
                return
    finally:
        Path(temporary).unlink(missing_ok=True)
    raise FusedUnavailableError(f"{cc} could not compile the kernel; use engine='torch'. It said: {done.stderr.strip()[-500:]}")


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Zeroed float32 array at a 64-byte boundary, as the kernel's vectors need."""
    size = int(np.prod(shape)) * 4
    raw = np.zeros(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(np.float32).reshape(shape)


class FusedTrainer:
    """Trains B networks of one TwoLayer spec in lanes.

    params: {name: (B, ...)} float32 as TwoLayer.shapes() says; importance: (B, outputs).
    """

    name = "fused"

    def __init__(self, toy: TwoLayer, params: Mapping[str, np.ndarray], importance: np.ndarray, recipe: Recipe):
        hidden, output = toy.effective_activations
        macros = {
            "N": toy.n_features,
            "M": toy.n_hidden,
            "O": toy.n_outputs,
            "TIED": int(toy.tied),
            "HIDDEN_BIAS": int(toy.hidden_bias),
            "OUTPUT_BIAS": int(toy.output_bias),
            "DROPOUT": int(toy.dropout > 0),
            "HIDDEN_ACT": KINDS[hidden],
            "OUTPUT_ACT": KINDS[output],
        }
        self._lib = _library(tuple(f"{k}={v}" for k, v in macros.items()))
        self.toy, self.recipe, self.count = toy, recipe, len(importance)
        self._blocks = -(-self.count // LANES)
        self._sharp = 1.0 if np.isinf(toy.sharpness) else float(toy.sharpness)
        n, m, o = toy.n_features, toy.n_hidden, toy.n_outputs
        self._places = {"W": slice(0, n * m), "b_hidden": slice(n * m, n * m + m)}
        end = n * m + m
        if not toy.tied:
            self._places["W_out"] = slice(end, end + o * m)
            end += o * m
        self._places["b_out"] = slice(end, end + o)
        self._param, self._m1, self._m2 = (_aligned((self._blocks, end + o, LANES)) for _ in range(3))
        self._importance = self._pack(importance)
        for name, value in params.items():
            # The kernel wants the encoder as (feature, hidden).
            flat = value.transpose(0, 2, 1) if name == "W" else value
            self._param[:, self._places[name]] = self._pack(flat.reshape(self.count, -1))
        self._schedule = np.ascontiguousarray(recipe.step_schedule())

    def _pack(self, rows: np.ndarray) -> np.ndarray:
        """(B, k) -> aligned (blocks, k, LANES); empty lanes are zero."""
        out = _aligned((self._blocks, rows.shape[1], LANES))
        padded = np.zeros((self._blocks * LANES, rows.shape[1]), dtype=np.float32)
        padded[: self.count] = rows
        out[:] = padded.reshape(self._blocks, LANES, -1).transpose(0, 2, 1)
        return out

    def _unpack(self, packed: np.ndarray) -> np.ndarray:
        return packed.transpose(0, 2, 1).reshape(self._blocks * LANES, -1)[: self.count]

    @property
    def params(self) -> dict[str, np.ndarray]:
        """{name: (B, ...)} copies of the current parameters."""
        out = {}
        for name, shape in self.toy.shapes().items():
            flat = self._unpack(self._param[:, self._places[name]])
            out[name] = flat.reshape(self.count, *shape[::-1]).transpose(0, 2, 1).copy() if name == "W" else flat.reshape(
                self.count, *shape
            ).copy()  # fmt: skip
        return out

    def run(self, block: PointBlock) -> None:
        """One Adam step for every step of the block."""
        steps, points = block.x.shape[:2]
        keep, masks = None, None
        if block.keep is not None:
            keep = np.zeros((self._blocks * LANES, steps, points, self.toy.n_hidden), dtype=np.uint8)
            keep[: self.count] = block.keep.transpose(1, 0, 2, 3)
            keep = keep.reshape(self._blocks, LANES, *keep.shape[1:]).transpose(0, 2, 3, 4, 1)
            masks = np.ascontiguousarray(keep)
        view, alive = _sparse(block.x, block.target, np.tile(block.weight, steps))
        schedule = self._schedule[block.start : block.start + steps]
        self._lib.train(
            self._blocks, steps, points, ctypes.byref(view), self._importance.ctypes.data, schedule.ctypes.data,
            self.recipe.beta1, self.recipe.beta2, self.recipe.eps, self._sharp, self._sharp, 1 / (1 - self.toy.dropout),
            None if masks is None else masks.ctypes.data, self._param.ctypes.data, self._m1.ctypes.data, self._m2.ctypes.data,
        )  # fmt: skip
        del alive

    def loss_per_output(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(B, outputs) weighted squared error on x (P, n), without importance."""
        loss = _aligned((self._blocks, self.toy.n_outputs, LANES))
        view, alive = _sparse(x[None], target[None], weight.astype(np.float32))
        self._lib.evaluate(
            self._blocks,
            len(x),
            ctypes.byref(view),
            self._sharp,
            self._sharp,
            self._param.ctypes.data,
            loss.ctypes.data,
        )
        del alive
        return self._unpack(loss).astype(np.float64)


def _sparse(x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[_Points, list[np.ndarray]]:
    """The kernel's view of points x (T, P, n), and the arrays that must outlive it."""
    flat = x.reshape(-1, x.shape[-1])
    row, column = np.nonzero(flat)
    arrays = [
        np.searchsorted(row, np.arange(len(flat) + 1)).astype(np.int32),
        column.astype(np.int32),
        np.ascontiguousarray(flat[row, column], dtype=np.float32),
        np.ascontiguousarray(flat, dtype=np.float32),
        np.ascontiguousarray(target, dtype=np.float32),
        np.ascontiguousarray(weight, dtype=np.float32),
    ]
    return _Points(*(a.ctypes.data for a in arrays)), arrays

"""The labelled corpus: text whose every token has a genre, a segment type, its previous occurrence and its determined
successor.

Two stages. `build.build` collects documents from `sources.SOURCES` (or the user's own text), drops duplicates, splits them
by document and writes them as text: ``train.jsonl.gz``, ``validation.jsonl.gz``, ``test.jsonl.gz`` and ``corpus.json`` (what is
in it, what was missing and what that means, checksums). `tokenise` turns documents into a `Split`: ids with their labels
beside them.

`sample()` is the few megabytes that ship with superscope: validation and test documents of public-domain or permissive sources.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superscope import opened, store
from superscope.lms.corpus import sources
from superscope.lms.corpus.generated import SEGMENTS, Document
from superscope.lms.corpus.own import CorpusError
from superscope.lms.corpus.tokenizer import Tokenizer

SAMPLE = "sample"
SPLITS = ("train", "validation", "test")


# ------------------------------------------------------------------------------------------------------- tokenised text


@dataclass(frozen=True)
class Rows:
    """Fixed-length model inputs: `tokens` (row, position) int64 with BOS first; `place` the index into the split, -1 at BOS."""

    tokens: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Split:
    """Tokens of one split with a label per token. All arrays have shape (token,).

    tokens: uint16 or int32 ids; every document opens with BOS. segment: uint8 index into `SEGMENTS`. previous: int32
    distance back to the previous occurrence of the same token in the same document, 0 where there is none. gold: int32 id of
    the NEXT token where the text so far determines it, else -1. document: int32 row of `documents` (columns genre, source,
    work, segment, start, length).
    """

    tokens: np.ndarray
    segment: np.ndarray
    previous: np.ndarray
    gold: np.ndarray
    document: np.ndarray
    documents: pd.DataFrame
    tokenizer: Tokenizer

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def genre(self) -> np.ndarray:
        """(token,) int16 index into `self.genres`."""
        codes = self.documents["genre"].map({name: k for k, name in enumerate(self.genres)}).to_numpy(np.int16)
        return codes[self.document]

    @cached_property
    def genres(self) -> list[str]:
        """The genres of this split: the standard ones in their usual order, then the user's own."""
        present = set(self.documents["genre"])
        return [g for g in sources.GENRES if g in present] + sorted(present - set(sources.GENRES))

    @property
    def char_class(self) -> np.ndarray:
        """(token,) uint8 index into `tokenizer.CHAR_CLASSES`."""
        return self.tokenizer.char_class[self.tokens]

    def rows(self, n_ctx: int, limit: int | None = None, seed: int | None = None) -> Rows:
        """The split as model inputs of `n_ctx` tokens: BOS, then n_ctx - 1 tokens of the stream. No token is in two rows.

        `limit` takes the first so many rows, in an order shuffled by `seed` when that is given.
        """
        if n_ctx < 2:
            raise ValueError(f"n_ctx={n_ctx}: a row needs BOS and at least one token")
        count = len(self) // (n_ctx - 1)
        if not count:
            raise CorpusError(
                f"the split has {len(self)} tokens, fewer than one row of {n_ctx}; add text or shorten the context"
            )
        order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
        order = order[:limit]
        place = np.full((len(order), n_ctx), -1, dtype=np.int64)
        place[:, 1:] = order[:, None] * (n_ctx - 1) + np.arange(n_ctx - 1)
        tokens = np.full((len(order), n_ctx), self.tokenizer.bos, dtype=np.int64)
        tokens[:, 1:] = self.tokens[place[:, 1:]]
        return Rows(tokens, place)

    def only(self, keep: np.ndarray) -> Split:
        """The documents where `keep` (document,) bool is true, as a split of its own."""
        old = np.flatnonzero(keep)
        mask = np.asarray(keep)[self.document]
        renumber = np.full(len(self.documents), -1, dtype=np.int32)
        renumber[old] = np.arange(len(old))
        table = self.documents.iloc[old].reset_index(drop=True)
        table["start"] = np.concatenate([[0], np.cumsum(table["length"].to_numpy())[:-1]]) if len(table) else []
        tokens, segment, previous, gold = (x[mask] for x in (self.tokens, self.segment, self.previous, self.gold))
        return Split(tokens, segment, previous, gold, renumber[self.document[mask]], table, self.tokenizer)


def halves(split: Split, n_ctx: int, seed: int = 0, limit: int | None = None) -> tuple[Rows, Rows]:
    """Rows of one random half of the documents to fit on, and at most `limit` rows of the other half to try it on."""
    first = np.random.default_rng([seed, 11]).random(len(split.documents)) < 0.5
    return split.only(first).rows(n_ctx), split.only(~first).rows(n_ctx, limit=limit, seed=seed)


def stream_rows(tokens: np.ndarray, n_ctx: int, bos: int) -> Rows:
    """A stream of token ids (see `cached_tokens`) as rows, in the ids' own type. No labels belong to it: `place` says where BOS
    is (-1) and nothing else (0).
    """
    count = len(tokens) // (n_ctx - 1)
    if not count:
        raise CorpusError(f"the text has {len(tokens)} tokens, fewer than one row of {n_ctx}; add text or shorten the context")
    out = np.full((count, n_ctx), bos, dtype=tokens.dtype)
    out[:, 1:] = tokens[: count * (n_ctx - 1)].reshape(count, n_ctx - 1)
    place = np.zeros(n_ctx, dtype=np.int64)
    place[0] = -1
    return Rows(out, np.broadcast_to(place, out.shape))


def tokenise(documents: Sequence[Document], tokenizer: Tokenizer) -> Split:
    """Documents to a `Split`. Raises CorpusError when there is no document."""
    if not documents:
        raise CorpusError("the corpus is empty: no document to tokenise")
    kind = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
    plain = tokenizer.encode_batch([d.text for d in documents if not d.gold and d.repeat is None])
    ids: list[np.ndarray] = []
    gold: list[np.ndarray] = []
    for one in documents:
        if one.repeat is not None:
            tokens, determined = _repeat(one.repeat, tokenizer)
        elif one.gold:
            encoding = tokenizer.inner.encode(one.text, add_special_tokens=False)
            tokens = np.array(encoding.ids, dtype=kind)
            determined = _covered(encoding.offsets, one.gold)
        else:
            tokens = np.array(next(plain).ids, dtype=kind)
            determined = np.zeros(len(tokens), dtype=bool)
        ids.append(np.concatenate([[tokenizer.bos], tokens]).astype(kind))
        gold.append(np.concatenate([[False], determined]))
    lengths = np.array([len(x) for x in ids])
    tokens = np.concatenate(ids)
    determined = np.concatenate(gold)
    following = np.full(len(tokens), -1, dtype=np.int32)
    following[:-1] = np.where(determined[1:], tokens[1:].astype(np.int32), -1)
    index = np.repeat(np.arange(len(ids), dtype=np.int32), lengths)
    segment = np.array([SEGMENTS.index(d.segment) for d in documents], dtype=np.uint8)[index]
    table = pd.DataFrame([{"genre": d.genre, "source": d.source, "work": d.work, "segment": d.segment} for d in documents])
    table["start"] = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    table["length"] = lengths
    return Split(tokens, segment, _distance_back(tokens, index), following, index, table, tokenizer)


def _repeat(recipe: tuple[int, int, int], tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens of the whole vocabulary (never BOS), `period` of them, `copies` times; all but the first copy determined.

    The first token of a later copy follows a repeat that nothing announces, and counts as determined from the third copy on.
    """
    seed, period, copies = recipe
    string = 1 + np.random.default_rng([seed, 77]).integers(0, len(tokenizer) - 1, period)
    string = np.where(string == tokenizer.bos, 0 if tokenizer.bos else 1, string)
    determined = np.arange(period * copies) > period
    return np.tile(string, copies), determined


def _covered(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """(token,) is the token wholly inside one of the character ranges?"""
    starts, ends = np.array(offsets).T
    inside = np.zeros(len(starts), dtype=bool)
    for low, high in spans:
        inside |= (starts >= low) & (ends <= high)
    return inside


def _distance_back(tokens: np.ndarray, document: np.ndarray) -> np.ndarray:
    """(token,) int32: how far back the same token last stood in the same document, 0 if nowhere."""
    place = np.arange(len(tokens))
    order = np.lexsort((place, tokens, document))
    same = (tokens[order][1:] == tokens[order][:-1]) & (document[order][1:] == document[order][:-1])
    back = np.zeros(len(tokens), dtype=np.int32)
    back[order[1:][same]] = (order[1:] - order[:-1])[same]
    return back


# ------------------------------------------------------------------------------------------------- documents on disk


def write_documents(path: Path, documents: Iterable[Document]) -> str:
    """Gzipped JSON lines, written atomically; returns their sha256."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as file:
        for one in documents:
            row = {k: v for k, v in asdict(one).items() if v not in (None, []) and not (k == "segment" and v == "text")}
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    store.atomic_write_bytes(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_documents(path: Path, sha256: str | None = None) -> list[Document]:
    """Inverse of `write_documents`; CorpusError when the file is absent, damaged or not what its checksum says."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"no corpus file {path} ({error.strerror}); make it with: superscope corpus build") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise CorpusError(f"{path} does not match its checksum: build the corpus again")
    try:
        rows = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        for row in rows:
            row["gold"] = [(int(a), int(b)) for a, b in row.get("gold", ())]
            row["repeat"] = tuple(row["repeat"]) if "repeat" in row else None
        return [Document(**row) for row in rows]
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise CorpusError(f"{path} is damaged ({error}): build the corpus again") from None


def sample_folder() -> Path:
    """Where the shipped sample lies."""
    return store.shipped("corpus")


_LAST: dict[
    tuple[object, ...], Split
] = {}  # the one that was tokenised last: it takes a second, and studies ask for it per model


def sample(tokenizer: Tokenizer, limit_documents: int | None = None) -> Split:
    """The shipped sample, tokenised. `limit_documents` takes the first so many of its shuffled documents.

    The last one is kept and given again, its arrays read-only; that it was opened is noted every time.
    """
    facts, path = store.read_json(sample_folder() / "sample.json"), sample_folder() / "sample.jsonl.gz"
    opened.note("text", SAMPLE, digest(SAMPLE))
    here = path.stat() if path.exists() else None
    key = (tokenizer.digest, limit_documents, facts["sha256"], path, here and (here.st_mtime_ns, here.st_size))
    if key not in _LAST:
        made = tokenise(read_documents(path, facts["sha256"])[:limit_documents], tokenizer)
        for array in (made.tokens, made.segment, made.previous, made.gold, made.document):
            array.flags.writeable = False
        _LAST.clear()
        _LAST[key] = made
    return _LAST[key]


def load(folder: Path | str, tokenizer: Tokenizer, split: str = "validation") -> Split:
    """A split of a corpus built by `build`, tokenised (slow for `train`: see `cached`)."""
    folder = Path(folder)
    if split not in SPLITS:
        raise CorpusError(f"no split {split!r}: a corpus has {', '.join(SPLITS)}")
    manifest = read_manifest(folder)
    opened.note("text", str(folder), digest(str(folder)))
    return tokenise(read_documents(folder / f"{split}.jsonl.gz", manifest["files"][split]["sha256"]), tokenizer)


def digest(name: str) -> str:
    """Digest of the shipped sample or of a built corpus, by folder; "" where there is none."""
    try:
        if name == SAMPLE:
            return str(store.read_json(sample_folder() / "sample.json")["sha256"])
        return store.digest(read_manifest(Path(name))["files"])
    except (store.StoreError, CorpusError):
        return ""


def read_manifest(folder: Path) -> dict[str, Any]:
    """corpus.json of a built corpus; CorpusError that says how to build one."""
    try:
        found = store.read_json(folder / "corpus.json")
        files = found.get("files") if isinstance(found, dict) else None
        if not isinstance(files, dict) or not all(isinstance(files.get(s), dict) and "sha256" in files[s] for s in SPLITS):
            raise store.StoreError("its corpus.json does not name the files of the splits")
        return dict(found)
    except store.StoreError as error:
        raise CorpusError(
            f"{folder} holds no corpus ({error}); make one with: superscope corpus build --out {folder}"
        ) from None


def cached_tokens(folder: Path | str, tokenizer: Tokenizer, split: str = "train", without: Sequence[str] = ()) -> np.ndarray:
    """(token,) ids of a split, memory-mapped from a ``.npy`` beside the corpus (made once, for training).

    without: kinds of generated segments that are left out. The file's name ends with its checksum; CorpusError when it is not
    to the bit what was written.
    """
    folder = Path(folder)
    sha256 = read_manifest(folder)["files"][split]["sha256"]
    stem = "-".join([split, *(f"no-{kind}" for kind in without), tokenizer.digest[:12], sha256[:12]])
    path = next(iter(sorted(folder.glob(f"{stem}-*.npy"))), None)
    if path is None:
        documents = read_documents(folder / f"{split}.jsonl.gz", sha256)
        buffer = io.BytesIO()
        np.save(buffer, tokenise([one for one in documents if one.segment not in without], tokenizer).tokens)
        path = folder / f"{stem}-{store.checksum(buffer.getvalue())[:16]}.npy"
        store.atomic_write_bytes(path, buffer.getvalue())
    elif not path.stem.endswith(store.checksum(path.read_bytes())[:16]):
        raise CorpusError(f"{path} is damaged (its checksum does not match its name): remove it, and it is made again")
    opened.note("text", str(folder), digest(str(folder)))
    tokens: np.ndarray = np.load(path, mmap_mode="r")
    return tokens

"""The labelled corpus: text whose every token has a genre, a segment type, its previous occurrence and its determined
successor.

Two stages. `build` collects documents from `sources.SOURCES` (or the user's own text), drops duplicates, splits them by
document and writes them as text: ``train.jsonl.gz``, ``validation.jsonl.gz``, ``test.jsonl.gz`` and ``corpus.json`` (what is
in it, what was missing and what that means, checksums). `tokenise` turns documents into a `Split`: ids with their labels
beside them.

`sample()` is the few megabytes that ship with superscope: validation and test documents of public-domain or permissive sources.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superscope import store
from superscope.errors import UserError
from superscope.lms import generated, sources
from superscope.lms.generated import SEGMENTS, Document
from superscope.lms.tokenizer import Tokenizer

SPLITS = ("train", "validation", "test")
_HELD_OUT = 0.03  # share of documents in each of validation and test
_LONGEST = 24_000  # characters; longer works are cut into pieces at blank lines
_SHORTEST = 200
_PARAGRAPH = 160  # a paragraph at least this long is kept once in the whole corpus
_GENERATED = 0.08  # share of generated text
_FEW_WORKS = 60  # a source with fewer works is split by piece, so that every split has some of it


class CorpusError(UserError):
    """A corpus that cannot be built or read, with what to do."""


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


def sample(tokenizer: Tokenizer, limit_documents: int | None = None) -> Split:
    """The shipped sample, tokenised. `limit_documents` takes the first so many of its shuffled documents."""
    facts = store.read_json(sample_folder() / "sample.json")
    documents = read_documents(sample_folder() / "sample.jsonl.gz", facts["sha256"])
    return tokenise(documents[:limit_documents], tokenizer)


def load(folder: Path | str, tokenizer: Tokenizer, split: str = "validation") -> Split:
    """A split of a corpus built by `build`, tokenised (slow for `train`: see `cached`)."""
    folder = Path(folder)
    if split not in SPLITS:
        raise CorpusError(f"no split {split!r}: a corpus has {', '.join(SPLITS)}")
    manifest = read_manifest(folder)
    return tokenise(read_documents(folder / f"{split}.jsonl.gz", manifest["files"][split]["sha256"]), tokenizer)


def read_manifest(folder: Path) -> dict[str, Any]:
    """corpus.json of a built corpus; CorpusError that says how to build one."""
    try:
        return dict(store.read_json(folder / "corpus.json"))
    except store.StoreError as error:
        raise CorpusError(
            f"{folder} holds no corpus ({error}); make one with: superscope corpus build --out {folder}"
        ) from None


def cached_tokens(folder: Path | str, tokenizer: Tokenizer, split: str = "train") -> np.ndarray:
    """(token,) ids of a split, memory-mapped from a ``.npy`` beside the corpus (made once, for training)."""
    folder = Path(folder)
    path = folder / f"{split}-{tokenizer.digest[:12]}-{read_manifest(folder)['files'][split]['sha256'][:12]}.npy"
    if not path.exists():
        buffer = io.BytesIO()
        np.save(buffer, load(folder, tokenizer, split).tokens)
        store.atomic_write_bytes(path, buffer.getvalue())
    return np.load(path, mmap_mode="r")


# --------------------------------------------------------------------------------------------------------------- build


def build(
    out: Path | str,
    cache: Path | str,
    own: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Collect, de-duplicate, split and write a corpus; returns its manifest.

    own: the user's text instead of the standard sources, each ``PATH:genre`` (a folder or a UTF-8 text file) or the name of
    a Hugging Face dataset with ``hf:NAME:genre``. A source that cannot be had is named in the manifest with what it means,
    never skipped silently.
    """
    out, cache = Path(out), Path(cache)
    collected: list[Document] = []
    report: list[dict[str, Any]] = []
    seen = _Seen()
    every = [own_source(text) for text in own] if own else list(sources.SOURCES)
    for source in every:
        try:
            works = _capped(list(source.read(sources.fetch(source, cache))), source.cap_mb)
        except (sources.SourceMissingError, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
            if own:
                raise CorpusError(f"{source.name}: {error}") from None
            report.append({"name": source.name, "genre": source.genre, "missing": str(error) or "its files are not there"})
            say(f"skipped {source.name}: {error}. The genre {source.genre!r} is smaller or absent.")
            continue
        documents = [d for work, text in works for d in _pieces(source, work, seen.fresh(text))]
        collected += documents
        size = sum(len(d.text.encode()) for d in documents)
        report.append(
            {
                "name": source.name, "genre": source.genre, "licence": source.licence, "packages": list(source.packages),
                "redistributable": source.redistributable, "documents": len(documents), "bytes": size,
            }
        )  # fmt: skip
        say(f"{source.name}: {len(documents)} documents, {size / 1e6:.1f} MB")
    if not collected:
        raise CorpusError("the corpus is empty: no source gave any text")
    characters = sum(len(d.text) for d in collected)
    collected += list(generated.documents(int(characters * _GENERATED)))
    splits: dict[str, list[Document]] = {name: [] for name in SPLITS}
    counts = Counter(source for source, _ in {(d.source, d.work.partition("#")[0]) for d in collected})
    held_out = {source.name for source in every if source.held_out}
    for one in sorted(collected, key=_key):
        unit = one.work if counts[one.source] < _FEW_WORKS else one.work.partition("#")[0]
        splits[_split_of(one.source, unit, one.source in held_out)].append(one)
    files = {}
    for name, documents in splits.items():
        digest = write_documents(out / f"{name}.jsonl.gz", documents)
        files[name] = {
            "documents": len(documents),
            "bytes": sum(len(d.text.encode()) for d in documents),
            "sha256": digest,
            "genres": dict(sorted(Counter(d.genre for d in documents).items())),
        }
    missing = sorted(
        {row["genre"] for row in report if "missing" in row} - {row["genre"] for row in report if "missing" not in row}
    )
    manifest = {"version": 1, "sources": report, "files": files, "absent genres": missing}
    store.atomic_write_json(out / "corpus.json", manifest)
    return manifest


def train_tokenizer(documents: Sequence[Document], vocabulary: int = 4096, characters: int = 3_000_000) -> Tokenizer:
    """BPE on the first `characters` of every genre, so that no genre owns the vocabulary. Give it training documents only."""
    left: dict[str, int] = {}
    texts = []
    for one in documents:
        if left.setdefault(one.genre, characters) > 0:
            left[one.genre] -= len(one.text)
            texts.append(one.text)
    return Tokenizer.train(texts, vocabulary)


def write_sample(corpus: Path | str, out: Path | str, megabytes: float = 4.0) -> dict[str, Any]:
    """Cut the shipped sample from the held-out documents of redistributable sources, the same share of every genre."""
    corpus, out = Path(corpus), Path(out)
    manifest = read_manifest(corpus)
    allowed = {row["name"]: row["licence"] for row in manifest["sources"] if row.get("redistributable")}
    held_out = [d for name in ("test", "validation") for d in read_documents(corpus / f"{name}.jsonl.gz")]
    kept = sorted((d for d in held_out if d.source in allowed or d.genre == "generated"), key=_key)
    genres = sorted({d.genre for d in kept})
    budget = {g: megabytes * 1e6 / len(genres) for g in genres}
    chosen = []
    for one in kept:
        size = len(one.text.encode()) if one.repeat is None else 3 * one.repeat[1] * one.repeat[2]
        if budget[one.genre] > 0:
            budget[one.genre] -= size
            chosen.append(one)
    digest = write_documents(out / "sample.jsonl.gz", chosen)
    table = Counter((d.genre, d.source) for d in chosen)
    facts = {
        "sha256": digest,
        "documents": len(chosen),
        "bytes": sum(len(d.text.encode()) for d in chosen),
        "sources": [
            {"genre": g, "source": s, "documents": n, "licence": allowed.get(s, "made by superscope")}
            for (g, s), n in sorted(table.items())
        ],
    }
    store.atomic_write_json(out / "sample.json", facts)
    return facts


def own_source(text: str) -> sources.Source:
    """``PATH:genre`` or ``hf:NAME:genre`` as a source; CorpusError says what is wrong with it."""
    place, _, genre = text.rpartition(":")
    if not place or not re.fullmatch(r"\w[\w-]*", genre):
        raise CorpusError(f"{text!r}: name a folder or file and its genre as PATH:genre, such as ./novels:novel")
    if place.startswith("hf:"):
        return sources.Source(place, genre, "stdlib", (), "see the dataset", False, lambda _: _hugging_face(place[3:]), 1e9)
    path = Path(place).expanduser()
    if not path.exists():
        raise CorpusError(f"{place!r} does not exist (from {text!r})")

    def read(_: Path) -> Iterator[tuple[str, str]]:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        if not files:
            raise CorpusError(f"{place!r} holds no file")
        for file in files:
            try:
                yield file.relative_to(path).as_posix() if path.is_dir() else file.name, file.read_bytes().decode("utf-8")
            except UnicodeDecodeError as error:
                raise CorpusError(
                    f"{file} is not UTF-8 text (byte {error.start}): convert it (iconv -f LATIN1 -t UTF-8) or leave it out"
                ) from None

    return sources.Source(path.name, genre, "stdlib", (), "the user's own", False, read, 1e9)


def _hugging_face(name: str) -> Iterator[tuple[str, str]]:
    """Documents of a Hugging Face text dataset, streamed: at most 200,000 rows with a "text" column."""
    try:
        from datasets import load_dataset

        for number, row in enumerate(load_dataset(name, split="train", streaming=True)):
            if number == 200_000:
                return
            yield f"{number:07d}", str(row["text"])
    except ImportError:
        raise CorpusError(f"hf:{name} needs the package datasets (pip install 'superscope[lm]')") from None
    except KeyError:
        raise CorpusError(f"the dataset {name!r} has no column 'text'") from None
    except Exception as error:  # the hub's client raises its own kinds; all mean that it cannot be read here
        raise CorpusError(f"the dataset {name!r} cannot be reached: {str(error)[:200]}") from None


def _capped(works: list[tuple[str, str]], megabytes: float) -> list[tuple[str, str]]:
    """Works spread evenly over the list until the cap; deterministic."""
    order = sorted(works, key=lambda work: hashlib.sha256(work[0].encode()).digest())
    total, kept = 0.0, set()
    for name, text in order:
        if total > megabytes * 1e6:
            break
        total += len(text.encode())
        kept.add(name)
    return [work for work in works if work[0] in kept]


class _Seen:
    """Paragraphs met so far: long ones are kept the first time only (licence headers, quoted mail, copied files)."""

    def __init__(self) -> None:
        self.hashes: set[bytes] = set()

    def fresh(self, text: str) -> str:
        out = []
        for paragraph in text.split("\n\n"):
            if len(paragraph) >= _PARAGRAPH:
                digest = hashlib.blake2b(" ".join(paragraph.lower().split()).encode(), digest_size=8).digest()
                if digest in self.hashes:
                    continue
                self.hashes.add(digest)
            out.append(paragraph)
        return "\n\n".join(out)


def _pieces(source: sources.Source, work: str, text: str) -> Iterator[Document]:
    """A work as documents of at most about `_LONGEST` characters, cut at blank lines or, failing that, at lines."""
    start, number = 0, 0
    text = text.strip("\n")
    while start < len(text):
        end = min(start + _LONGEST, len(text))
        if end < len(text):
            cut = max(text.rfind("\n\n", start + _LONGEST // 2, end), text.rfind("\n", end - 2000, end))
            end = cut if cut > start else end
        piece = text[start:end].strip("\n")
        if (len(piece) >= _SHORTEST or not number) and piece.strip():
            yield Document(piece, source.genre, source.name, f"{work}#{number}" if number else work)
        start, number = end, number + 1


def _key(one: Document) -> bytes:
    """Shuffles documents the same way on every machine."""
    return hashlib.sha256(f"{one.source}\n{one.work}".encode()).digest()


def _split_of(source: str, unit: str, held_out: bool) -> str:
    """By the name of the unit that must not be in two splits: the work, or the piece where a source has few works."""
    share = int.from_bytes(hashlib.sha256(f"split\n{source}\n{unit}".encode()).digest()[:8], "big") / 2**64
    if held_out:
        return "test" if share < 0.5 else "validation"
    return "test" if share < _HELD_OUT else "validation" if share < 2 * _HELD_OUT else "train"

"""Build the labelled corpus: collect, de-duplicate, split by document, write."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from superscope import store
from superscope.errors import folder
from superscope.lms.corpus import generated, sources
from superscope.lms.corpus import own as own_text
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.own import CorpusError
from superscope.lms.corpus.splits import SPLITS, write_documents

_HELD_OUT = 0.03  # share of documents in each of validation and test
_LONGEST = 24_000  # characters; longer works are cut into pieces at blank lines
_SHORTEST = 200
_PARAGRAPH = 160  # a paragraph at least this long is kept once in the whole corpus
_GENERATED = 0.08  # share of generated text
_PIECES = 40  # pieces that the user's own text is cut into at least, where it is long enough
_SHORT_PIECE = 1000
_LEAST = 3000  # characters of own text below which all of it is validation
_ROW = 3000  # characters that make a row of tokens for most models
_FEW_WORKS = 60  # a source with fewer works is split by piece, so that every split has some of it


def build(
    out: Path | str,
    cache: Path | str,
    own: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
    drills: bool | None = None,
) -> dict[str, Any]:
    """Collect, de-duplicate, split and write a corpus; returns its manifest.

    own: the user's text instead of the standard sources, each ``PATH:genre`` (a folder, a text file, or a table with a text
    column, which ``PATH#column:genre`` names) or the name of a Hugging Face dataset with ``hf:NAME:genre``. Every one is in
    all splits, or in validation alone when it is short. A source that cannot be had is named in the manifest with what it
    means, never skipped silently.
    drills: add generated text (arithmetic, lists, names); by default to the standard sources and not to one's own text.
    """
    out, cache = folder("out", out), folder("cache", cache)
    if isinstance(own, str) or not all(isinstance(text, str) for text in own):
        raise CorpusError(f"own={own!r}: give a list of PATH:genre")
    collected: list[Document] = []
    parts: list[list[Document]] = []  # by source
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
        fresh = [(work, seen.fresh(text)) for work, text in works]
        longest = _LONGEST
        if own:  # short text in short pieces, so that every split gets some
            longest = int(min(_LONGEST, max(_SHORT_PIECE, sum(len(text) for _, text in fresh) / _PIECES)))
        documents = [d for work, text in fresh for d in _pieces(source, work, text, longest)]
        collected += documents
        parts.append(documents)
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
    splits: dict[str, list[Document]] = {name: [] for name in SPLITS}
    if own:
        for source, mine in zip(every, parts, strict=True):
            for name, part in _own_splits(source.name, mine).items():
                splits[name] += part
        collected, written = [], collected
    else:
        written = collected
    if drills or (drills is None and not own):
        collected = collected + list(generated.documents(int(sum(len(d.text) for d in written) * _GENERATED)))
    counts = Counter(source for source, _ in {(d.source, d.work.partition("#")[0]) for d in collected})
    held_out = {source.name for source in every if source.held_out}
    for one in sorted(collected, key=_key):
        unit = one.work if counts[one.source] < _FEW_WORKS else one.work.partition("#")[0]
        splits[_split_of(one.source, unit, one.source in held_out)].append(one)
    if own:
        splits = {name: sorted(documents, key=_key) for name, documents in splits.items()}
        for name in [name for name, documents in splits.items() if not documents]:
            say(f"the text is too short for the {name} split: all of it is in validation, which the neuroscope reads")
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


def own_source(text: str) -> sources.Source:
    """``PATH:genre``, ``PATH#column:genre`` or ``hf:NAME:genre`` as a source; CorpusError says what is wrong with it."""
    if text.startswith("hf:"):
        name, _, genre = text[3:].rpartition(":")
        if not name or not re.fullmatch(r"\w[\w-]*", genre):
            raise CorpusError(f"{text!r}: name a Hugging Face dataset and its genre as hf:NAME:genre")
        return sources.Source(f"hf:{name}", genre, "stdlib", (), "see the dataset", False, lambda _: _hugging_face(name), 1e9)
    path, column, genre = own_text.split_name(text)
    return sources.Source(path.name, genre, "stdlib", (), "the user's own", False, lambda _: own_text.read(path, column), 1e9)


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


def _own_splits(name: str, documents: list[Document]) -> dict[str, list[Document]]:
    """The user's documents of one source by split: some in each, whole works together where there are many.

    A text too short for that is validation alone: there it is read. Held out are else `_HELD_OUT` of the characters each for
    validation and test, and more of a short source, so that a model has a row to read.
    """
    works = {one.work.partition("#")[0] for one in documents}
    units: dict[str, list[Document]] = {}
    for one in documents:
        units.setdefault(one.work if len(works) < _FEW_WORKS else one.work.partition("#")[0], []).append(one)
    total = sum(len(one.text) for one in documents)
    if total < _SHORTEST:
        raise CorpusError(f"{name} holds {total} characters of text: too little to read (at least {_SHORTEST})")
    if len(units) < len(SPLITS) or total < _LEAST:  # enough to look at, not to train on
        return {"test": [], "validation": documents, "train": []}
    order = sorted(units, key=lambda unit: hashlib.sha256(f"split\n{name}\n{unit}".encode()).digest())
    wanted = max(_HELD_OUT * total, min(_ROW, 0.2 * total))
    out: dict[str, list[Document]] = {"test": [], "validation": [], "train": []}
    for place, unit in enumerate(order):
        left = len(order) - place
        short = [s for s in ("test", "validation") if sum(len(one.text) for one in out[s]) < wanted]
        empty = [s for s in out if not out[s]]
        out[empty[0] if left <= len(empty) else short[0] if short else "train"] += units[unit]
    return out


def _pieces(source: sources.Source, work: str, text: str, longest: int = _LONGEST) -> Iterator[Document]:
    """A work as documents of at most about `longest` characters, cut at blank lines or, failing that, at lines or words."""
    start, number = 0, 0
    text = text.strip("\n")
    while start < len(text):
        end = min(start + longest, len(text))
        if end < len(text):
            near = max(end - 2000, start)
            cut = max(text.rfind("\n\n", start + longest // 2, end), text.rfind("\n", near, end))
            cut = cut if cut > start or longest == _LONGEST else text.rfind(" ", near, end)
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

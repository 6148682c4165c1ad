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
from superscope.lms.corpus import generated, sources
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.splits import SPLITS, CorpusError, write_documents

_HELD_OUT = 0.03  # share of documents in each of validation and test
_LONGEST = 24_000  # characters; longer works are cut into pieces at blank lines
_SHORTEST = 200
_PARAGRAPH = 160  # a paragraph at least this long is kept once in the whole corpus
_GENERATED = 0.08  # share of generated text
_FEW_WORKS = 60  # a source with fewer works is split by piece, so that every split has some of it


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

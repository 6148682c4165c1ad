"""Own text as people have it: marks, line ends, encodings, tables, hidden folders, one short file."""

from __future__ import annotations

import codecs
import gzip
import json

import pandas as pd
import pytest

from superscope.lms import corpus
from superscope.lms.corpus import own, sources

STORY = "\n\n".join(f"Paragraph {k}. " + " ".join(f"word{k * 31 + j}é" for j in range(40)) for k in range(40))


def built(tmp_path, source: str, **options) -> dict[str, list]:
    corpus.build(tmp_path / "out", tmp_path / "cache", [source], **options)
    return {name: corpus.read_documents(tmp_path / "out" / f"{name}.jsonl.gz") for name in corpus.SPLITS}


def texts(splits) -> list[str]:
    return sorted(one.text for documents in splits.values() for one in documents)


FILES = {
    "plain.txt": STORY.encode(),
    "marked.txt": codecs.BOM_UTF8 + STORY.encode(),
    "windows.txt": STORY.replace("\n", "\r\n").encode(),
    "old mac.txt": STORY.replace("\n", "\r").encode(),
    "blank lines with blanks.txt": STORY.replace("\n\n", "\n \t\n").encode(),
    "utf-16.txt": STORY.encode("utf-16"),
    "utf-16-be.txt": codecs.BOM_UTF16_BE + STORY.encode("utf-16-be"),
    "utf-32.txt": STORY.encode("utf-32"),
    "zipped.txt.gz": gzip.compress(STORY.encode()),
}


@pytest.mark.parametrize("name", FILES)
def test_the_same_text_however_it_is_stored(tmp_path, name) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    assert next(own.read(tmp_path / name))[1] == STORY


ROWS = [f"row {k}: café " + f"word{k} " * 40 for k in range(30)]
TABLES = {
    "t.jsonl": lambda p: p.write_text("\n".join(json.dumps({"text": row}) for row in ROWS)),
    "t.jsonl.gz": lambda p: p.write_bytes(gzip.compress("\r\n".join(json.dumps({"text": row}) for row in ROWS).encode())),
    "bare.jsonl": lambda p: p.write_text("\n".join(json.dumps(row) for row in ROWS)),
    "t.csv": lambda p: pd.DataFrame({"id": range(30), "text": ROWS}).to_csv(p, index=False),
    "marked.csv": lambda p: pd.DataFrame({"text": ROWS}).to_csv(p, index=False, encoding="utf-8-sig"),
    "t.tsv": lambda p: pd.DataFrame({"text": ROWS}).to_csv(p, index=False, sep="\t"),
    "t.parquet": lambda p: pd.DataFrame({"text": ROWS, "id": range(30)}).to_parquet(p),
    "t.csv#body": lambda p: pd.DataFrame({"body": ROWS, "text": "no"}).to_csv(str(p).partition("#")[0], index=False),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_row_is_a_document(tmp_path, name) -> None:
    TABLES[name](tmp_path / name)
    found = built(tmp_path, f"{tmp_path / name}:mine")
    assert [text.strip() for text in texts(found)] == sorted(row.strip() for row in ROWS)
    assert all(found.values())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("latin.txt", "café".encode("latin-1") * 900, "not UTF-8"),
        ("unmarked.txt", STORY.encode("utf-16-le"), "NUL|not UTF-8"),
        ("image.txt", bytes(range(256)) * 20, "not UTF-8"),
        ("empty.txt", b"", "empty"),
        ("short.txt", b"only this", "short.txt holds 9 characters"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', r"line 2: no field 'text' \(its fields are txt\)"),
        ("b.jsonl", b'{"text": 3}', "not text"),
        ("c.jsonl", b'{"text": "x"', "line 1: not JSON"),
        ("d.csv", b"a,b\n1,2\n", r"no column 'text' \(it has a, b\)"),
        ("e.csv", b'text\n"never closed', "line 2"),
        ("f.csv", b"", "no column"),
        ("g.parquet", b"PAR1 or not", "no whole Parquet"),
        ("h.txt.gz", b"not gzip", "cannot be read"),
        ("i.txt#column", STORY.encode(), "has no columns"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path, name, data, said) -> None:
    (tmp_path / name.partition("#")[0]).write_bytes(data)
    with pytest.raises(corpus.CorpusError, match=said):
        built(tmp_path, f"{tmp_path / name}:mine")
    assert not (tmp_path / "out" / "corpus.json").exists()


def test_hidden_files_and_folders_are_left_out(tmp_path) -> None:
    book = tmp_path / ".hidden" / "book"  # the folder that is named may itself be hidden
    for place in (book, book / ".git", book / "part"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "a.txt").write_text(f"{place.name} {STORY}")
    (book / ".DS_Store").write_bytes(b"\0\1")
    assert [name for name, _ in own.read(book)] == ["a.txt", "part/a.txt"]


@pytest.mark.parametrize("size", [4_000, 13_000, 300_000])
def test_own_text_is_in_every_split_and_nothing_else_is(tmp_path, size) -> None:
    words = " ".join(f"word{k}" for k in range(size // 6))
    (tmp_path / "book.txt").write_text(words[:size])
    found = built(tmp_path, f"{tmp_path / 'book.txt'}:novel")
    assert {one.genre for documents in found.values() for one in documents} == {"novel"}
    held = {name: sum(len(one.text) for one in documents) for name, documents in found.items()}
    assert min(held.values()) > 600
    assert held["train"] > 0.45 * size
    assert sum(held.values()) > 0.98 * size


def test_a_short_text_is_in_validation_and_that_is_said(tmp_path) -> None:
    (tmp_path / "poem.txt").write_text("a line of it, and another\n" * 12)
    said: list[str] = []
    corpus.build(tmp_path / "out", tmp_path / "cache", [f"{tmp_path / 'poem.txt'}:verse"], said.append)
    found = {name: corpus.read_documents(tmp_path / "out" / f"{name}.jsonl.gz") for name in corpus.SPLITS}
    assert [len(found[name]) for name in corpus.SPLITS] == [0, 1, 0]
    assert sum("too short for the" in line for line in said) == 2


def test_drills_are_added_when_asked_for(tmp_path) -> None:
    (tmp_path / "book.txt").write_text(STORY * 3)
    found = built(tmp_path, f"{tmp_path / 'book.txt'}:novel", drills=True)
    assert "generated" in {one.genre for documents in found.values() for one in documents}


def test_two_sources_of_one_name_are_kept_apart(tmp_path) -> None:
    for k, place in enumerate(("a", "b")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "book.txt").write_text(STORY.replace("word", f"w{k}x"))
    corpus.build(tmp_path / "out", tmp_path / "c", [f"{tmp_path / p / 'book.txt'}:{p}" for p in ("a", "b")])
    for name in corpus.SPLITS:
        assert {one.genre for one in corpus.read_documents(tmp_path / "out" / f"{name}.jsonl.gz")} == {"a", "b"}


def test_a_package_that_is_not_the_pinned_one_is_removed_unread(tmp_path) -> None:
    archive = tmp_path / "better-sqlite3-11.8.1.tgz"
    archive.write_bytes(b"something else")
    with pytest.raises(sources.SourceMissingError, match="is not the package that superscope knows"):
        sources.check_pin("better-sqlite3@11.8.1", archive)
    assert not archive.exists()
    pinned = {package for source in sources.SOURCES if source.kind in ("npm", "pip") for package in source.packages}
    assert pinned <= set(sources.PINS)

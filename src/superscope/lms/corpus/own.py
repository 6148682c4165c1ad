"""The user's own text as people have it: any Unicode mark, any line ends, tables with a text column, folders of all this."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from superscope.errors import UserError


class CorpusError(UserError):
    """A corpus that cannot be built or read, with what to do."""


TEXT = "text"  # the column that is read where none is named
_MARKS = {  # longest first: UTF-32's mark opens with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_LINES = (".jsonl", ".ndjson")
_TABLES = {".csv": ",", ".tsv": "\t"}


def split_name(text: str) -> tuple[Path, str, str]:
    """``PATH:genre`` or ``PATH#column:genre`` as (path, column or "", genre); CorpusError says what is wrong with it."""
    place, _, genre = text.rpartition(":")
    if not place or not re.fullmatch(r"\w[\w-]*", genre):
        raise CorpusError(f"{text!r}: name a folder or file and its genre as PATH:genre, such as ./novels:novel")
    try:
        path, column = Path(place).expanduser(), ""
        if not path.exists() and "#" in place:
            before, _, column = place.rpartition("#")
            path = Path(before).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise CorpusError(f"{text[:100]!r} cannot be read: {error}") from None
    if not there:
        raise CorpusError(f"{place!r} does not exist (from {text!r})")
    return path, column, genre


def read(path: Path, column: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of every document in a file or folder, in a fixed order. Whatever opens with a dot is left out."""
    files = [path]
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        files = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not files:
        raise CorpusError(f"{str(path)!r} holds no file (names that open with a dot are left out)")
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        yield from _documents(file, name, column)


def _documents(file: Path, name: str, column: str) -> Iterator[tuple[str, str]]:
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise CorpusError(
            f"{file} cannot be read ({error.strerror if isinstance(error, OSError) and error.strerror else error})"
        ) from None
    kind = Path(file.stem).suffix.lower() if file.suffix == ".gz" else file.suffix.lower()
    if kind in _LINES:
        rows: Iterator[str] = _from_lines(file, decode(data, file), column)
    elif kind in _TABLES:
        rows = _from_csv(file, decode(data, file), column, _TABLES[kind])
    elif kind == ".parquet":
        rows = _from_parquet(file, data, column)
    elif column:
        raise CorpusError(f"{file} has no columns (#{column}): only .jsonl, .csv, .tsv and .parquet have")
    else:
        yield name, decode(data, file)
        return
    for number, text in enumerate(rows):
        yield f"{name}/{number:07d}", text


def decode(data: bytes, file: Path) -> str:
    """Text by its mark, or else as UTF-8; line ends become "\\n". CorpusError for what is no text."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{file} is not UTF-8 text (byte {error.start}): convert it (iconv -f LATIN1 -t UTF-8) or leave it out"
        ) from None
    if "\0" in text:
        raise CorpusError(f"{file} holds NUL bytes: it is no text, or UTF-16 without its mark (iconv -f UTF-16LE -t UTF-8)")
    return lines_as_usual(text)


def lines_as_usual(text: str) -> str:
    """Line ends of every system as "\\n", blank lines truly blank."""
    text = re.sub(r"\r\n?|[\u2028\x85]", "\n", text).replace("\u2029", "\n\n").replace("\ufeff", "")
    return re.sub(r"\n[ \t]+(?=\n)", "\n", text)


def _from_lines(file: Path, text: str, column: str) -> Iterator[str]:
    wanted = column or TEXT
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{file}, line {number}: not JSON ({error})") from None
        yield _cell(file, f"line {number}", row, wanted)


def _cell(file: Path, where: str, row: Any, column: str) -> str:
    if isinstance(row, str):
        return lines_as_usual(row)
    if not isinstance(row, dict) or column not in row:
        have = f"its fields are {', '.join(map(str, row))}" if isinstance(row, dict) else f"it is a {type(row).__name__}"
        raise CorpusError(f"{file}, {where}: no field {column!r} ({have}); name it as PATH#field:genre")
    if row[column] is None:
        return ""
    if not isinstance(row[column], str):
        raise CorpusError(f"{file}, {where}: field {column!r} is {row[column]!r:.60}, not text")
    return lines_as_usual(row[column])


def _from_csv(file: Path, text: str, column: str, comma: str) -> Iterator[str]:
    csv.field_size_limit(1 << 30)
    rows = csv.reader(io.StringIO(text), delimiter=comma, strict=True)
    try:
        head = next(rows, [])
        place = _column(file, head, column)
        for number, row in enumerate(rows, 2):
            if len(row) > place:
                yield lines_as_usual(row[place])
            elif row:
                raise CorpusError(f"{file}, row {number}: {len(row)} cells, column {head[place]!r} is number {place + 1}")
    except csv.Error as error:
        raise CorpusError(f"{file}, line {rows.line_num}: {error}") from None


def _from_parquet(file: Path, data: bytes, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(io.BytesIO(data))
        names = opened.schema_arrow.names
        place = _column(file, names, column)
        kind = opened.schema_arrow.types[place]
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
            raise CorpusError(f"{file}: column {names[place]!r} holds {kind}, not text; name another as PATH#column:genre")
        for batch in opened.iter_batches(columns=[names[place]]):
            for value in batch.column(0).to_pylist():
                yield lines_as_usual(value or "")
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{file} is no whole Parquet file ({str(error).splitlines()[0]})") from None


def _column(file: Path, names: list[str], column: str) -> int:
    wanted = column or TEXT
    if wanted not in names:
        raise CorpusError(f"{file}: no column {wanted!r} (it has {', '.join(names) or 'none'}); name it as PATH#column:genre")
    return names.index(wanted)

"""The corpus: labels that can be checked by hand, splits that share no document, files that survive."""

import numpy as np
import pytest

from superscope import opened, store
from superscope.lms import corpus
from superscope.lms.corpus import generated
from superscope.lms.corpus.generated import SEGMENTS, Document
from superscope.lms.corpus.tokenizer import BOS, CHAR_CLASSES, Tokenizer

TEXTS = [
    "The cat sat on the mat. " * 40,
    "def f(x):\n    return x + 123\n" * 40,
    "0123456789 ABC <tag> " * 40,
    "Привет, мир. " * 30,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([*TEXTS, *(generated.document(k, 1).text for k in SEGMENTS[1:])], 400)


def text_documents() -> list[Document]:
    return [Document(text, genre, "test", f"work{k}") for k, (text, genre) in enumerate(zip(TEXTS, "wxyz", strict=True))]


def test_every_text_comes_back(tokenizer):
    for text in [*TEXTS, "emoji \N{GRINNING FACE} and \x00 bytes", "   \n\n\t x"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_stand_alone_and_spaces_run_together(tokenizer):
    pieces = [tokenizer.pieces[i] for i in tokenizer.encode("    return x + 123\n")]
    assert [p for p in pieces if p.strip().isdigit()] == ["1", "2", "3"]
    assert pieces[0] == "   "


def test_training_is_deterministic(tokenizer):
    again = Tokenizer.train([*TEXTS, *(generated.document(k, 1).text for k in SEGMENTS[1:])], 400)
    assert again.digest == tokenizer.digest


def test_char_classes(tokenizer):
    named = {piece: CHAR_CLASSES[c] for piece, c in zip(tokenizer.pieces, tokenizer.char_class, strict=True)}
    assert named["7"] == "digit"
    assert named[BOS] == "special"
    assert named["\n"] == "newline"
    assert named[" "] == "space"
    assert named["."] == "punctuation"
    assert named["x"] == "lower"
    assert named["A"] == "title"


def test_labels_of_a_split(tokenizer):
    documents = [*text_documents(), generated.document("arithmetic", 5), generated.document("repeat", 6)]
    split = corpus.tokenise(documents, tokenizer)
    starts = split.documents["start"].to_numpy()
    assert (split.tokens[starts] == tokenizer.bos).all()
    assert split.genres == ["generated", "w", "x", "y", "z"]
    assert [split.genres[g] for g in split.genre[starts]] == ["w", "x", "y", "z", "generated", "generated"]
    assert {SEGMENTS[s] for s in split.segment} == {"text", "arithmetic", "repeat"}
    for place in np.random.default_rng(0).integers(0, len(split), 300):  # the slow twin of `previous`
        same = np.flatnonzero((split.tokens[:place] == split.tokens[place]) & (split.document[:place] == split.document[place]))
        assert split.previous[place] == (place - same[-1] if len(same) else 0)


def test_gold_is_the_next_token_and_only_where_determined(tokenizer):
    one = generated.document("ioi", 3)
    split = corpus.tokenise([one], tokenizer)
    gold = np.flatnonzero(split.gold >= 0)
    assert len(gold) >= 4
    assert (split.gold[gold] == split.tokens[gold + 1]).all()
    spans = {one.text[a:b] for a, b in one.gold}
    assert spans <= {f" {name}" for name in generated.NAMES}
    first = one.text[: one.gold[0][0]]
    name = one.text[one.gold[0][0] : one.gold[0][1]].strip()
    assert first.count(name) == 1  # the indirect object is the name said once


def test_arithmetic_is_right():
    one = generated.document("arithmetic", 2)
    for line in one.text.strip().splitlines():
        left, right = line.split(" = ")
        a, sign, b = left.split()
        assert int(right) == (int(a) + int(b) if sign == "+" else int(a) - int(b))


def test_repeats_repeat(tokenizer):
    one = generated.document("repeat", 9)
    _, period, copies = one.repeat
    split = corpus.tokenise([one], tokenizer)
    body = split.tokens[1:]
    assert len(body) == period * copies
    assert (body[period:] == body[:-period]).all()
    assert (split.gold[1 : 1 + period - 1] == -1).all()
    assert (split.gold[1 + period : -1] >= 0).all()
    assert tokenizer.bos not in body


def test_rows_cover_the_stream_once(tokenizer):
    split = corpus.tokenise(text_documents(), tokenizer)
    rows = split.rows(16, seed=3)
    assert (rows.tokens[:, 0] == tokenizer.bos).all()
    assert (rows.place[:, 0] == -1).all()
    places = rows.place[:, 1:].ravel()
    assert len(set(places)) == len(places)
    assert (rows.tokens[:, 1:].ravel() == split.tokens[places]).all()
    with pytest.raises(corpus.CorpusError, match="fewer than one row"):
        split.rows(10**6)


def test_only_keeps_labels_together(tokenizer):
    split = corpus.tokenise(text_documents(), tokenizer)
    part = split.only((split.documents["genre"] == "x").to_numpy())
    assert part.genres == ["x"]
    assert len(part.documents) == 1
    assert (part.document == 0).all()
    assert tokenizer.decode(part.tokens[1:]) == TEXTS[1]


def test_documents_survive_the_disk(tmp_path):
    documents = [*text_documents(), generated.document("ioi", 1), generated.document("repeat", 2)]
    digest = corpus.write_documents(tmp_path / "x.jsonl.gz", documents)
    assert corpus.read_documents(tmp_path / "x.jsonl.gz", digest) == documents
    assert corpus.write_documents(tmp_path / "y.jsonl.gz", documents) == digest
    (tmp_path / "x.jsonl.gz").write_bytes((tmp_path / "x.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(corpus.CorpusError, match="checksum"):
        corpus.read_documents(tmp_path / "x.jsonl.gz", digest)
    with pytest.raises(corpus.CorpusError, match="damaged"):
        corpus.read_documents(tmp_path / "x.jsonl.gz")
    with pytest.raises(corpus.CorpusError, match="corpus build"):
        corpus.read_documents(tmp_path / "none.jsonl.gz")


def own_text(folder, works=120):
    (folder / "notes").mkdir()
    for k in range(works):
        (folder / "notes" / f"{k:03d}.txt").write_text(f"Note {k}. " + " ".join(f"word{k * 7 + j}" for j in range(60)))
    return f"{folder / 'notes'}:notes"


def test_build_from_own_text(tmp_path):
    source = own_text(tmp_path)
    first = corpus.build(tmp_path / "out", tmp_path / "cache", [source])
    again = corpus.build(tmp_path / "again", tmp_path / "cache", [source])
    assert first["files"] == again["files"]
    works = {name: {d.work for d in corpus.read_documents(tmp_path / "out" / f"{name}.jsonl.gz")} for name in corpus.SPLITS}
    assert all(works.values())
    assert not (works["train"] & works["test"])
    assert not (works["train"] & works["validation"])
    assert not (works["test"] & works["validation"])


def test_cached_tokens_are_checked_to_the_bit(tmp_path, tokenizer):
    corpus.build(tmp_path / "out", tmp_path / "cache", [own_text(tmp_path)])
    tokens = np.array(corpus.cached_tokens(tmp_path / "out", tokenizer))
    assert (tokens == corpus.load(tmp_path / "out", tokenizer, "train").tokens).all()
    (path,) = (tmp_path / "out").glob("train-*.npy")
    stamp = path.stat().st_mtime_ns
    corpus.cached_tokens(tmp_path / "out", tokenizer)
    assert path.stat().st_mtime_ns == stamp  # made once
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(corpus.CorpusError, match=rf"{path.name} is damaged .*: remove it, and it is made again"):
        corpus.cached_tokens(tmp_path / "out", tokenizer)
    path.unlink()
    assert (corpus.cached_tokens(tmp_path / "out", tokenizer) == tokens).all()


def test_cached_tokens_may_leave_out_kinds_of_segments(tmp_path, tokenizer):
    corpus.build(tmp_path / "out", tmp_path / "cache", [own_text(tmp_path)], drills=True)
    every, some = (corpus.cached_tokens(tmp_path / "out", tokenizer, without=kinds) for kinds in ((), ("ioi", "repeat")))
    split = corpus.load(tmp_path / "out", tokenizer, "train")
    left_out = np.isin(split.segment, [SEGMENTS.index("ioi"), SEGMENTS.index("repeat")])
    assert left_out.any()
    assert (every[~left_out] == some).all()


def test_a_copied_paragraph_is_kept_once(tmp_path):
    licence = "This licence text stands at the top of every file and says the same thing each time, " * 3
    (tmp_path / "code").mkdir()
    for k in range(20):
        (tmp_path / "code" / f"{k}.txt").write_text(f"{licence}\n\nfile number {k} " + f"line{k} " * 60)
    corpus.build(tmp_path / "out", tmp_path / "cache", [f"{tmp_path / 'code'}:code"])
    texts = "".join(d.text for name in corpus.SPLITS for d in corpus.read_documents(tmp_path / "out" / f"{name}.jsonl.gz"))
    assert texts.count("This licence text stands at the top") == 3  # once, a sentence said three times


def test_mistakes_are_explained(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    for source, said in (
        (str(tmp_path), "PATH:genre"),
        (f"{tmp_path}/nowhere:x", "does not exist"),
        (f"{tmp_path}:x", "not UTF-8"),
    ):
        with pytest.raises(corpus.CorpusError, match=said):
            corpus.build(tmp_path / "out", tmp_path / "cache", [source])
    with pytest.raises(corpus.CorpusError, match="empty"):
        corpus.tokenise([], None)
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokenizer.read(tmp_path / "latin.txt")


def test_a_missing_source_is_named(tmp_path, monkeypatch):
    from superscope.lms.corpus import sources

    gone = sources.Source("gone", "opera", "apt", ("no-such-package",), "none", False, sources._stdlib)
    here = corpus.own_source(own_text(tmp_path))
    monkeypatch.setattr(sources, "SOURCES", (gone, here))
    monkeypatch.setitem(sources._FETCH, "apt", lambda package, place: (_ for _ in ()).throw(OSError("no apt here")))
    said = []
    manifest = corpus.build(tmp_path / "out", tmp_path / "cache", say=said.append)
    assert manifest["absent genres"] == ["opera"]
    assert "no apt here" in manifest["sources"][0]["missing"]
    assert any("skipped gone" in line and "opera" in line for line in said)


def test_the_shipped_sample(tokenizer):
    documents = corpus.read_documents(corpus.sample_folder() / "sample.jsonl.gz")
    genres = {d.genre for d in documents}
    assert len(genres) >= 13
    assert {d.segment for d in documents} == set(SEGMENTS)
    facts = store.read_json(corpus.sample_folder() / "sample.json")
    allowed = ("public domain", "PSF", "BSD", "PostgreSQL", "WordNet", "CC0", "made by superscope")
    assert all(row["licence"].startswith(allowed) for row in facts["sources"])
    assert {d.source for d in documents} == {row["source"] for row in facts["sources"]}


def test_the_sample_is_tokenised_once_and_noted_every_time():
    """What a unit of work opened must be known even when another one has tokenised it before."""
    tokenizer = Tokenizer.read(store.shipped("models") / "tokenizer.json")
    seen = []
    for _ in range(2):
        with opened.watch() as used:
            seen.append(corpus.sample(tokenizer))
        assert [kind for kind, _ in used] == ["text"]
    assert seen[0] is seen[1]
    assert not seen[0].tokens.flags.writeable
    assert corpus.sample(tokenizer, limit_documents=2) is not seen[0]

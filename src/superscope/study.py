"""The study contract: a module with a question, a frozen `Config`, `PRESETS` and one ``run(config, lab) -> Findings``.

`Study` wraps such a module: checks it, applies overrides to a preset, runs it and stores what it found.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import platform
import re
import sys
import types
import typing
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from superscope import checkout, store
from superscope.errors import KindError, SettingError, choice, folder, whole
from superscope.evidence import records, seal
from superscope.evidence.expect import Check, Expect, ExpectationError, gate_statement
from superscope.evidence.findings import Figure, Findings, Gate
from superscope.lab import Lab, clocks
from superscope.plots.theme import template

__all__ = ["Figure", "Findings", "Gate", "Lab", "Study"]

PRESETS = ("quick", "standard", "full")
EXECUTORS = ("local", "ray")
_CHANCE = re.compile("densit|dense|sparse|rare|rates|share|dropout")  # names of config fields that hold probabilities
_RUN_ARGUMENTS = {"preset", "seed", "out", "executor", "lab", "workers", "quiet", "fresh"}


@dataclass(frozen=True)
class Study:
    """A runnable open problem: ``superscope.studies.get("4.7").run(preset="quick")``."""

    problem: str
    title: str
    question: str
    assumptions: tuple[str, ...]
    disanalogies: tuple[str, ...]
    config_type: type
    presets: dict[str, Any]
    body: Callable[[Any, Lab], Findings]
    expected: tuple[Expect, ...] = ()
    gate: tuple[Check, ...] = ()
    tips: tuple[str, ...] = ()
    module: str = ""

    @classmethod
    def from_module(cls, module: types.ModuleType) -> Study:
        """Check a study module against the contract; raises TypeError that says what is missing."""
        wanted = ("PROBLEM", "TITLE", "QUESTION", "ASSUMPTIONS", "DISANALOGIES", "Config", "PRESETS", "run")
        missing = [name for name in wanted if not hasattr(module, name)]
        if missing:
            raise TypeError(f"study {module.__name__} lacks {', '.join(missing)}")
        config: type = module.Config
        parameters = getattr(config, "__dataclass_params__", None)
        if parameters is None or not parameters.frozen:
            raise TypeError(f"study {module.__name__}: Config must be a frozen dataclass")
        if tuple(module.PRESETS) != PRESETS:
            raise TypeError(f"study {module.__name__}: PRESETS must be {PRESETS}, not {tuple(module.PRESETS)}")
        clash = _RUN_ARGUMENTS & {item.name for item in dataclasses.fields(config)}
        if clash:
            raise TypeError(f"study {module.__name__}: Config field {min(clash)!r} is an argument of Study.run already")
        expected, gate = tuple(getattr(module, "EXPECTED", ())), tuple(getattr(module, "GATE", ()))
        strange = [row for row in expected if not isinstance(row, Expect)] + [row for row in gate if not isinstance(row, Check)]
        if strange:
            raise TypeError(f"study {module.__name__}: {strange[0]!r} in EXPECTED or GATE is neither an Expect nor a Check")
        twice = [name for name, count in Counter(row.id for row in expected).items() if count > 1]
        if twice:
            raise TypeError(f"study {module.__name__}: two rows of EXPECTED have the id {twice[0]!r}")
        odd = [name for name, preset in module.PRESETS.items() if not isinstance(preset, config)]
        if odd:
            raise TypeError(f"study {module.__name__}: preset {odd[0]!r} is not a Config")
        return cls(
            problem=module.PROBLEM,
            title=module.TITLE,
            question=module.QUESTION,
            assumptions=tuple(module.ASSUMPTIONS),
            disanalogies=tuple(module.DISANALOGIES),
            config_type=config,
            presets=dict(module.PRESETS),
            body=module.run,
            expected=expected,
            gate=gate,
            tips=tuple(getattr(module, "TIPS", ())),
            module=module.__name__,
        )

    @property
    def seal(self) -> str:
        """Digest of what the study wrote down before its numbers; "" when it keeps no rows."""
        return seal.digest(self.expected, self.gate) if self.expected else ""

    def configure(self, preset: str = "quick", **overrides: Any) -> Any:
        """The preset's Config with `overrides`; an unknown field or a wrong type is a KindError that quotes it."""
        if preset not in self.presets:
            raise SettingError(f"no preset {preset!r}; study {self.problem} has {', '.join(self.presets)}")
        hints = typing.get_type_hints(self.config_type)
        for name in overrides:
            if name not in hints:
                near = difflib.get_close_matches(name, hints, n=1, cutoff=0.0)
                raise KindError(
                    f"study {self.problem} has no config field {name!r}; nearest is {near[0]!r} (fields: {', '.join(hints)})"
                )
        checked = {name: _checked(name, value, hints[name]) for name, value in overrides.items()}
        for name, value in checked.items():
            _within(name, value, [getattr(one, name) for one in self.presets.values()])
        config = dataclasses.replace(self.presets[preset], **checked)
        self._enough(config)
        return config

    def _enough(self, config: Any) -> None:
        """Refuse, before anything is trained, fewer seeds than a rule needs."""
        seeds = getattr(config, "seeds", None)
        rows = [row for row in self.expected if row.unit == "seeds"]
        if isinstance(seeds, int) and rows:
            most = max(rows, key=lambda row: row.replicates)
            if seeds < most.replicates:
                raise ExpectationError(
                    f"seeds={seeds}: {self.problem} needs at least {most.replicates}, for the rule {most.rule!r} of {most.id!r}"
                )

    def _as_written(self, found: Findings) -> None:
        """Refuse findings that were judged by other rows or another gate than those that are sealed."""
        if not self.expected:
            return
        claims = {claim.id: claim for claim in found.claims}
        for row in self.expected:
            claim = claims.get(row.id)
            plant = claim.plant.name if claim and claim.plant else ""
            made = claim and (claim.rule.text, claim.column, claim.of, claim.null.name, plant)
            if made != (" ".join(row.rule.split()), row.column, row.of, row.null, row.plant):
                raise _as_written_error(
                    self.problem, f"row {row.id!r} of EXPECTED is not what its claim was judged by ({made})"
                )
        if self.gate and found.gate.statement != gate_statement(self.gate):
            raise _as_written_error(self.problem, "the gate is not that of GATE")

    def folder(self, config: Any, preset: str, seed: int, out: Path | str | None = None) -> Path:
        """Where a run of this config is kept."""
        return records.run_folder(out, self.problem, preset, dataclasses.asdict(config), seed)

    def run(
        self,
        preset: str = "quick",
        seed: int = 0,
        out: Path | str | None = None,
        executor: str = "local",
        lab: Lab | None = None,
        *,
        workers: int | None = None,
        quiet: bool | None = None,
        fresh: bool = False,
        **overrides: Any,
    ) -> Findings:
        """Run the study and store its findings under `out` (default ``runs/``); finished units are not done again.

        `overrides` are fields of the study's Config. A `lab` brings its own preset, seed, folder and executor. `fresh` throws
        away what an earlier run of the same configuration left.
        """
        if lab is not None:
            preset, seed = lab.preset, lab.seed
        seed = whole("seed", seed, 0, 2**31 - 1)
        choice("executor", executor, EXECUTORS)
        if workers is not None:
            workers = whole("workers", workers, 1, 10_000)
        config = self.configure(preset, **overrides)
        if lab is None:
            silent = not sys.stderr.isatty() if quiet is None else quiet
            place = self.folder(config, preset, seed, None if out is None else folder("out", out))
            lab = Lab(seed, preset, place, executor, workers, silent)
        else:
            fresh = False
        with store.locked(lab.folder):
            if fresh:
                store.remove(lab.folder)
            return self._run(config, lab)

    def _run(self, config: Any, lab: Lab) -> Findings:
        """Measure, judge and store; the caller holds the folder of the run."""
        preset, seed = lab.preset, lab.seed
        start = clocks()
        found = self.body(config, lab)
        if not isinstance(found, Findings):
            raise TypeError(f"study {self.problem}: run returned {type(found).__name__}, not Findings")
        self._as_written(found)
        for item in found.figures:
            item.figure.update_layout(template=template())
        wall, cpu = (now - then + paid for now, then, paid in zip(clocks(), start, lab.earlier, strict=True))
        settings, usual = (store.plain(dataclasses.asdict(one)) for one in (config, self.presets[preset]))
        found = dataclasses.replace(
            found,
            problem=self.problem,
            title=self.title,
            question=self.question,
            assumptions=list(self.assumptions),
            disanalogies=list(self.disanalogies),
            preset=preset,
            config=settings,
            overrides={name: value for name, value in settings.items() if value != usual[name]},
            seed=seed,
            seal=self.seal,
            engine=", ".join(lab.engines),
            notes=list(lab.notes),
            seconds=wall,
            cpu_seconds=cpu,
            resumed=list(lab.resumed),
            versions=_versions(),
            finished=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        found.save(lab.folder)
        return dataclasses.replace(found, folder=lab.folder)


def _as_written_error(study: str, what: str) -> TypeError:
    return TypeError(f"study {study}: {what}; judge by EXPECTED and GATE as they are written down")


def _versions() -> dict[str, str]:
    """Versions and the kind of machine; nothing that names the machine or its folders."""
    versions = {"python": platform.python_version()}
    for package in ("superscope", "numpy", "torch", "xarray", "scipy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if name := checkout.commit():
        versions["commit"] = name
    versions["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return versions


def _checked(name: str, value: Any, hint: Any) -> Any:
    """`value` if it fits the field's type hint (an int where a float is meant is made a float, a list a tuple)."""
    try:
        return _fit(value, hint)
    except TypeError:
        shown = getattr(hint, "__name__", None) if not typing.get_args(hint) else str(hint)
        raise KindError(f"config field {name!r} must be {shown}, not {value!r}") from None


def _within(name: str, value: Any, usual: list[Any]) -> None:
    """Refuse numbers that no preset comes near: counts below 1, negative or infinite ones, probabilities above 1, nothing."""
    known = [number for one in usual for number in _numbers(one)]
    if not known:
        return
    given = _numbers(value)
    if not given and all(_numbers(one) for one in usual):
        raise SettingError(f"config field {name}={value!r}: give at least one number")
    chance = bool(_CHANCE.search(name)) and max(known) <= 1
    for number in given:
        least = min(0.0, *known) if isinstance(number, float) or name.endswith("steps") else min(1, *known)
        most = 1.0 if chance and isinstance(number, float) else math.inf
        if not (least <= number <= most) or (math.isinf(number) and math.inf not in known):
            span = f"between {least:g} and 1" if most == 1.0 else f">= {least:g} and finite"
            raise SettingError(f"config field {name}={value!r}: must be {span}")


def _numbers(value: Any) -> list[int | float]:
    """The numbers in a value of a config field, however it is nested."""
    if isinstance(value, (tuple, list)):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def _fit(value: Any, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return _fit(value, option)
            except TypeError:
                continue
        raise TypeError
    if origin is typing.Literal:
        if value not in args:
            raise TypeError
        return value
    if hint is Any:
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else args
        if len(kinds) != len(value):
            raise TypeError
        return tuple(_fit(item, kind) for item, kind in zip(value, kinds, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        raise TypeError
    kind = type(None) if hint is None else hint
    if not isinstance(value, origin or kind):
        raise TypeError
    return value

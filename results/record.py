"""Copy the newest finished run of every problem from a runs folder into results/: python results/record.py RUNS [PRESET]."""

import shutil
import sys
from pathlib import Path

from superscope import store, studies
from superscope.findings import Findings

here = Path(__file__).parent
runs, preset = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "standard"
for problem in studies.built():
    folder = next((f for f in store.finished_runs(problem, runs) if f.name.startswith(preset)), None)
    if folder is None:
        print(f"{problem}: no finished {preset} run in {runs}")
        continue
    found = Findings.load(folder)
    shutil.rmtree(here / problem, ignore_errors=True)
    found.save(here / problem / folder.name)
    print(f"{problem}: {found.verdict}")

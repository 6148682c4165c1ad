"""Copy finished runs into results/: python results/record.py RUNS (standard before quick)."""

import shutil
import sys
from pathlib import Path

from superscope import studies
from superscope.evidence import records
from superscope.evidence.findings import Findings

here, runs = Path(__file__).parent, Path(sys.argv[1])
for problem in studies.built():
    finished = records.finished_runs(problem, runs)
    folder = next((f for preset in ("standard", "quick") for f in finished if f.name.startswith(preset)), None)
    if folder is None:
        print(f"{problem}: no finished standard or quick run in {runs}")
        continue
    found = Findings.load(folder)
    shutil.rmtree(here / problem, ignore_errors=True)
    found.save(here / problem / folder.name)
    print(f"{problem}: {found.verdict}")

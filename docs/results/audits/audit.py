"""Check every layer at level small: `python audit.py [layers_NAME.py ...]`, into two tables and `environment.json`."""

import csv
import importlib.metadata
import json
import math
import sys
import warnings
from pathlib import Path

import vdbench
from vdbench.certificate.certificate import COMPARES
from vdbench.errors import InputError
from vdbench.estimation import registry
from vdbench.runner import environment

HERE = Path(__file__).resolve().parent
PACKAGES = [
    "bayes-regression",
    "bayesian-torch",
    "bayesnn",
    "bayestorch",
    "baytorch",
    "blitz-bayesian-pytorch",
    "bnn-pytorch",
    "borch",
    "cplxmodule",
    "fastbnns",
    "inferno-torch",
    "lightning-uq-box",
    "probflow",
    "pyro-ppl",
    "PyTorch-Bayes",
    "supernnova",
    "torch-blue",
    "torch-uncertainty",
    "torchbayesian",
    "torchbnn",
    "tyxe",
    "uqdeepnn",
    "variationalsparsebayes",
    "vbll",
    "zuko",
]
VERDICT = (
    "layer",
    "verdict",
    "detectable, least",
    "detectable, most",
    "failed",
    "draws needed",
    "seconds",
)
FINDING = (
    *("layer", "passed", "test", "where", "figure", "low", "high", "limit", "power", "draws"),
    *("note", "suggests"),
)


def main(files):
    with (HERE / "verdicts.csv").open("w") as v, (HERE / "findings.csv").open("w") as f:
        verdicts, findings = csv.writer(v), csv.writer(f)
        verdicts.writerow(VERDICT)
        findings.writerow(FINDING)
        for file in files:
            for name, checked in certificates(file):
                if checked is None:
                    continue
                known = [x.power or 0.0 for x in checked.findings if x.test in COMPARES]
                power = [p for p in known if p and math.isfinite(p)]
                ends = [f"{end(power):.2g}" for end in (min, max)] if power else ["", ""]
                failed = dict.fromkeys(x.test for x in checked.failed)
                row = (name, checked.verdict, *ends, "; ".join(failed), checked.draws or "")
                verdicts.writerow((*row, f"{checked.seconds:.0f}"))
                for x in checked.findings:
                    if x.passed is False or x.test == "unbiased" or x.test.startswith("layer"):
                        numbers = ["" if n is None else f"{n:.3g}" for n in
                                   (x.figure, x.low, x.high, x.limit, x.power)]  # fmt: skip
                        note = x.note if x.passed is not True else ""
                        place = (name, x.passed, x.test, x.where)
                        findings.writerow((*place, *numbers, x.draws, note, x.suggests))
                v.flush()
                f.flush()
                print(checked.summary(), flush=True)
    described = environment.describe("cpu")
    described["audited"] = {p: importlib.metadata.version(p) for p in PACKAGES}
    text = json.dumps({k: described[k] for k in ("python", "cpu", "torch", "audited")}, indent=1)
    (HERE / "environment.json").write_text(text + "\n")


def certificates(file):
    try:
        for name in registry.load_plugin(file):
            yield name, vdbench.check(vdbench.get(name))
    except InputError as error:
        print(f"{file.name}: {error}", flush=True)
        yield file.name, None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main([HERE / a for a in sys.argv[1:]] or sorted(HERE.glob("layers_*.py")))

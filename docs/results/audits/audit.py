"""Check every layer: `python audit.py [DRAWS] [layers_NAME.py ...]`, into two tables and `environment.json`.

DRAWS is the number of draws of a first look at each problem (512 in level small of `vdbench check`, 8,192 in full).
"""

import csv
import importlib.metadata
import json
import sys
import warnings
from pathlib import Path

import vdbench
from vdbench.certificate import run
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
VERDICT = ("layer", "draws", "passed", "detectable, least", "detectable, most", "failed", "seconds")
FINDING = ("layer", "passed", "test", "where", "figure", "low", "high", "limit", "power", "note")


def main(draws, files):
    run.WORK["small"] = (65536, draws)
    with (HERE / "verdicts.csv").open("w") as v, (HERE / "findings.csv").open("w") as f:
        verdicts, findings = csv.writer(v), csv.writer(f)
        verdicts.writerow(VERDICT)
        findings.writerow(FINDING)
        for file in files:
            for name, checked in certificates(file):
                if checked is None:
                    continue
                power = [x.power for x in checked.findings if x.test == "unbiased" and x.power]
                ends = [f"{end(power):.2g}" for end in (min, max)] if power else ["", ""]
                failed = dict.fromkeys(x.test for x in checked.failed)
                row = (name, draws, checked.passed, *ends, "; ".join(failed))
                verdicts.writerow((*row, f"{checked.seconds:.0f}"))
                for x in checked.findings:
                    if x.passed is False or x.test == "unbiased" or x.test.startswith("layer"):
                        numbers = ["" if n is None else f"{n:.3g}" for n in
                                   (x.figure, x.low, x.high, x.limit, x.power)]  # fmt: skip
                        note = x.note if x.passed is not True else ""
                        findings.writerow((name, x.passed, x.test, x.where, *numbers, note))
                v.flush()
                f.flush()
                print(checked.verdict(), flush=True)
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
    arguments = sys.argv[1:] or ["512"]
    chosen = [HERE / a for a in arguments[1:]] or sorted(HERE.glob("layers_*.py"))
    main(int(arguments[0]), chosen)

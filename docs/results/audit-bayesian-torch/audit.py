"""Write the audit: `python audit.py [small|full]` leaves a table, JSON and the environment beside this file."""

import importlib.metadata
import json
import sys
from pathlib import Path

import vdbench
from vdbench.estimation import registry
from vdbench.runner import environment

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    level = sys.argv[1] if len(sys.argv) > 1 else "small"
    names = registry.load_plugin(HERE / "layers.py")
    checked = [vdbench.check(vdbench.get(name), level=level) for name in names]
    (HERE / "table.txt").write_text("\n\n".join(c.text() for c in checked) + "\n", encoding="utf-8")
    data = [c.json() for c in checked]
    (HERE / "findings.json").write_text(
        json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    described = environment.describe("cpu")
    described["audited"] = {"bayesian-torch": importlib.metadata.version("bayesian-torch")}
    (HERE / "environment.json").write_text(
        json.dumps(described, indent=1, default=str) + "\n", encoding="utf-8"
    )
    for certificate in checked:
        print(certificate.summary())

"""Compiles the fused kernels for a GPU of compute capability 9.0, which needs none; prints what each came to.

Run in a process of its own, without TRITON_INTERPRET: a program is one of the interpreter's or one of the compiler's.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vdbench.kernels import programs

NUMBERS = {"ieee": "fp32", "tf32": "fp32", "tf32x3": "fp32", "bf16": "bf16"}
OPERANDS = ("out", "x", "first", "second", "g", "out_first", "out_second")
POINTERS = {"slope": "*fp32", "row_bits": "*i32", "out_bits": "*i32", "streams": "*i64"}
TILE = {"BM": 64, "BN": 64, "BK": 32}


def compiled(name: str, pointers: dict[str, str], constants: dict[str, Any]) -> dict[str, Any]:
    """The size of a program's code and the shared memory that it takes, in bytes."""
    program = getattr(programs, name)
    kinds = {
        n: "constexpr" if n in constants else pointers.get(n, "i32") for n in program.arg_names
    }
    source = ASTSource(fn=program, signature=kinds, constexprs=constants)
    found = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    return {"code": len(found.asm["cubin"]), "shared": found.metadata.shared}


def main() -> None:
    """Every program in every way that is compiled differently; what the command line names is enough of them."""
    result = {}
    ways = [tuple(word.split(":")) for word in sys.argv[1:]] or list(
        product(("local", "flipout"), NUMBERS)
    )
    for estimator, way in ways:
        own = dict.fromkeys(OPERANDS, f"*{NUMBERS[way]}") | POINTERS
        same = {**TILE, "FLIP": estimator == "flipout", "WIDE": False, "UPCAST": False}
        same["PRECISION"] = "tf32" if way == "bf16" else way
        for drawn in (False, True) if estimator == "local" else (False,):
            noise = {"noise": "*i64" if drawn else own["x"]}
            label = f"preactivation {estimator} {way}{' drawn' if drawn else ''}"
            result[label] = compiled("preactivation", own | noise, same | {"DRAWN": drawn})
        for name in ("input_gradient", "weight_gradients"):
            result[f"{name} {estimator} {way}"] = compiled(name, own, same)
    result["normals"] = compiled(
        "normals", {"out": "*fp32", **POINTERS}, {"BLOCK": 256, "WIDE": False}
    )
    result["words"] = compiled("words", {"out": "*i32", **POINTERS}, {"BLOCK": 256})
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()

"""What a run does before it measures: the heap of its processes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """\
import resource, sys
import torch
if sys.argv[1] == "settled":
    import vdbench.runner.warm

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def gradient():  # six blocks of 4 MB together, as a large layer takes them
    return [torch.ones(1_000_000) for _ in range(6)]

gradient()
began = faults()
for _ in range(20):
    gradient()
print(faults() - began)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a limit of glibc's")
def test_memory_of_a_large_gradient_is_not_taken_anew_from_the_system() -> None:
    pages = {
        how: int(subprocess.check_output([sys.executable, "-W", "ignore", "-c", CODE, how]))
        for how in ("settled", "as it was")
    }
    assert 4 * pages["settled"] < pages["as it was"], pages

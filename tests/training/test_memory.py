import subprocess
import sys

import pytest

CHURN = """
import os, resource, sys
if sys.argv[1] == "keep":
    from training.memory import keep_freed_memory
    assert keep_freed_memory()
import torch
torch.set_num_threads(1)
for _ in range(3):
    torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(16 << 20)  # 64 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    command = [sys.executable, "-c", CHURN, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is on Linux")
def test_memory_that_is_freed_and_asked_for_again_costs_no_page_faults() -> None:
    assert page_faults("keep") < 0.05 * page_faults("leave")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.memory import keep_freed_memory

    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert not keep_freed_memory()

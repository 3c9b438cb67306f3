"""torchaudio's wheel fails in several ways; here a stand-in fails in each of them, in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NEEDS_CUDA = "raise OSError('libcudart.so.13: cannot open shared object file')"
PACKAGE = {
    "__init__.py": "from torchaudio import _extension\nfrom torchaudio import functional\n",
    "functional.py": (
        "from torchaudio._extension import _IS_ALIGN_AVAILABLE, fail_if_no_align\n"
        "@fail_if_no_align\n"
        "def answer(): return 42, _IS_ALIGN_AVAILABLE\n"
    ),
}


def test_the_real_torchaudio_is_imported_and_computes() -> None:
    done = run(
        "from features.torchaudio_cpu import import_torchaudio as t\n"
        "import torch\n"
        "print(t('functional').create_dct(2, 4, norm='ortho').shape, t().__name__, t('models.decoder').__name__)"
    )
    assert done.stdout.split("\n")[0] == "torch.Size([4, 2]) torchaudio torchaudio.models.decoder", done.stderr


def test_without_cuda_a_stub_stands_in_for_the_extension(tmp_path: Path) -> None:
    write_package(tmp_path, {"_extension/__init__.py": NEEDS_CUDA})
    done = run(
        "from features.torchaudio_cpu import import_torchaudio as t\n"
        "print(t('functional').answer(), t('functional').answer(), t().__name__)",
        tmp_path,
    )
    assert done.stdout.strip() == "(42, False) (42, False) torchaudio", done.stderr


def test_an_earlier_failed_import_does_not_stand_in_the_way(tmp_path: Path) -> None:
    write_package(tmp_path, {"_extension/__init__.py": NEEDS_CUDA})
    done = run(
        "try: import torchaudio\n"
        "except OSError: pass\n"
        "from features.torchaudio_cpu import import_torchaudio as t\n"
        "print(t('functional').answer())",
        tmp_path,
    )
    assert done.stdout.strip() == "(42, False)", done.stderr


def test_where_the_extension_loads_it_is_the_one_used(tmp_path: Path) -> None:
    real = "_IS_ALIGN_AVAILABLE = 'real'\ndef fail_if_no_align(function): return function\n"
    write_package(tmp_path, {"_extension/__init__.py": real})
    done = run("from features.torchaudio_cpu import import_torchaudio as t\nprint(t('functional').answer())", tmp_path)
    assert done.stdout.strip() == "(42, 'real')", done.stderr


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (
            {"_extension/__init__.py": NEEDS_CUDA, "functional.py": "raise OSError('elsewhere')"},
            "elsewhere",
        ),
        ({"_extension/__init__.py": "", "functional.py": "raise OSError('elsewhere')"}, "elsewhere"),
        ({"__init__.py": "import package_that_is_missing"}, "package_that_is_missing"),
    ],
    ids=["also without CUDA", "instead", "a missing dependency"],
)
def test_other_failures_are_not_hidden(tmp_path: Path, files: dict[str, str], error: str) -> None:
    write_package(tmp_path, files)
    done = run("from features.torchaudio_cpu import import_torchaudio as t\nt('functional')", tmp_path)
    assert done.returncode == 1
    assert error in done.stderr.splitlines()[-1]


def write_package(folder: Path, files: dict[str, str]) -> None:
    for name, content in (PACKAGE | files).items():
        path = folder / "torchaudio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def run(program: str, *first_on_path: Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path[:0] = {[str(path) for path in (*first_on_path, ROOT)]}\n{program}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

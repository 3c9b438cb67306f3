"""What benchmarks leave behind."""

from pathlib import Path

from benchmarks.results import record


def test_a_new_record_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    record("Speed", "ours 1 s\ntheirs 2 s", path)
    record("Memory", "10 MB", path)
    record("Speed", "ours 0.5 s", path)
    text = path.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Results of the benchmarks", "## Speed", "## Memory",
    ]  # fmt: skip
    assert text.index("ours 0.5 s") < text.index("## Memory") < text.index("10 MB")
    assert "1 s" not in text and "theirs" not in text
    assert text.count("commit `") == 2

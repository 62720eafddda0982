"""The benchmark of webhooks runs from end to end, and counts right. What it measures is for its readers to judge."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ["--rounds", "1", "--seconds", "0.2", "--connections", "4", "--rate", "100", "--duplicates", "20"]


@pytest.mark.timeout(400)  # it starts eight processes, and a crowded machine takes its time
@pytest.mark.parametrize(("database", "beside"), [("sqlite", "--consumer"), ("postgres", "--effects")])
def test_what_was_acknowledged_is_counted_and_done_once_beside_the_service(
    database, beside, tmp_path
) -> None:
    found = tmp_path / "found.json"
    ended = subprocess.run(
        [sys.executable, "ingest.py", "--database", database, beside, *TINY, "--json", str(found)],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "each once" in ended.stdout
    told = json.loads(found.read_text("utf-8"))
    assert list(told["exact"].values()) == [True]
    assert all(one["rows"] == one["expected"] > 0 for one in told["counts"])

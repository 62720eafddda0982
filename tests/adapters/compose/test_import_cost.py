"""What is imported when: a till on SQLite needs no NATS, and reading settings needs neither SQL nor HTTP."""

import subprocess
import sys

import pytest


def modules_after(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(' '.join(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "never"),
    [
        (
            "from tillport.adapters.compose import read_settings",
            "sqlalchemy litestar stripe nats asyncpg asyncio",
        ),
        (
            "from tillport.adapters.compose import open_service",
            "sqlalchemy litestar stripe nats asyncpg uvicorn",
        ),
        ("import tillport.adapters.cli", "sqlalchemy litestar stripe nats asyncpg uvicorn asyncio"),
    ],
)
def test_nothing_is_imported_before_it_is_needed(code: str, never: str) -> None:
    assert modules_after(code) & set(never.split()) == set()

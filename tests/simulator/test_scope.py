"""Whatever the official SDK can call is answered, or refused by name: nothing real is taken for a typing error."""

import re
from pathlib import Path

import pytest
import stripe

from tillport.simulator.errors import ApiError
from tillport.simulator.routes import find

_CALL = re.compile(r'_request(?:_async)?\(\s*"(get|post|delete)",\s*"(/v[12]/[^"]+)"')


def calls() -> list[tuple[str, str]]:
    """Return every method and path in the SDK's sources."""
    found = set()
    for file in Path(stripe.__file__).parent.rglob("*_service.py"):
        found |= {(m.upper(), re.sub(r"\{[^}]*\}", "x", path)) for m, path in _CALL.findall(file.read_text())}
    return sorted(found)


def test_every_call_of_the_sdk_is_modelled_or_refused_by_name() -> None:
    every = calls()
    unheard_of = []
    modelled = 0
    for method, path in every:
        try:
            find(method, path)
            modelled += 1
        except ApiError as error:
            if error.code != "simulator_not_modelled":
                unheard_of.append((method, path))
            else:
                assert f"{method} {path}" in error.message  # noqa: PT017 - both answers are legal; this judges one
    assert unheard_of == []
    assert len(every) > 500
    assert modelled > 70


@pytest.mark.parametrize(
    "path", ["/v1/nonsense", "/v1/charges/x/nonsense", "/v1/", "/v1", "/", "/v3/charges", "/v1/charges/"]
)
def test_what_stripe_has_not_either_is_unrecognised(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        find("GET", path)
    assert (caught.value.status, caught.value.code) == (404, None)
    assert caught.value.message.startswith(f"Unrecognized request URL (GET: {path}).")

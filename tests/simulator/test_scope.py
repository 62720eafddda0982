"""Whatever the official SDK can call is answered, or refused by name: nothing real is taken for a typing error."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import stripe
from stripe import RequestOptions

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


# How a call is made, which the SDK types beside what it says.
OPTIONS = frozenset(RequestOptions.__annotations__)
_PARAMS = re.compile(r'params: (?:Optional\[)?"(\w+)"')


def parameters() -> dict[tuple[str, str], set[str]]:
    """Return the parameters of every call in the SDK's sources, by its method and path."""
    found: dict[tuple[str, str], set[str]] = {}
    for file in Path(stripe.__file__).parent.rglob("*_service.py"):
        text = file.read_text()
        for block in re.split(r"\n    (?:async )?def ", text)[1:]:
            call, typed = _CALL.search(block), _PARAMS.search(block)
            if call is None or typed is None:
                continue
            name = typed[1]
            module = re.search(rf"from (stripe\.params[\w.]*) import (?:\(\s*)?{name}\b", text)
            assert module is not None, name
            names = set(getattr(import_module(module[1]), name).__annotations__)
            found[call[1].upper(), re.sub(r"\{[^}]*\}", "x", call[2])] = names - OPTIONS
    return found


# What Stripe takes and its SDK for servers does not type: older names, what Stripe.js sends, pages of the second API.
UNTYPED = frozenset(
    "card client_secret default_card include object page payment_method_types validate".split()
)


def test_every_parameter_of_a_modelled_call_is_taken_or_refused_by_name_and_no_other() -> None:
    unheard_of, invented = [], []
    judged = 0
    for (method, path), names in sorted(parameters().items()):
        try:
            spec = find(method, path)[0].spec
        except ApiError:
            continue
        judged += 1
        missing = names - spec.fields.keys() - spec.unmodelled - {"expand"}
        unheard_of += [f"{method} {path}: {name}" for name in sorted(missing)]
        invented += [f"{method} {path}: {name}" for name in sorted(spec.fields.keys() - names - UNTYPED)]
    assert (unheard_of, invented) == ([], [])
    assert judged > 50


@pytest.mark.parametrize(
    "path", ["/v1/nonsense", "/v1/charges/x/nonsense", "/v1/", "/v1", "/", "/v3/charges", "/v1/charges/"]
)
def test_what_stripe_has_not_either_is_unrecognised(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        find("GET", path)
    assert (caught.value.status, caught.value.code) == (404, None)
    assert caught.value.message.startswith(f"Unrecognized request URL (GET: {path}).")

"""Whatever is sent, the wire answers as Stripe would answer a bad request: with its envelope, never with a crash."""

from collections import Counter
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillport.simulator import ManualClock, Request, Response, Simulator
from tillport.simulator.control import control
from tillport.simulator.routes import ROUTES

# Strings that are something to somebody: ids, cards, numbers at the edges, separators, other scripts.
WORDS = st.sampled_from(
    "usd card pm_card_visa tok_visa 4242424242424242 true false 0 -1 1e3 2000 9223372036854775808 9999999999999999999999 "
    "NaN 2030 12 automatic manual * charge.succeeded http://hook.test/ data.latest_charge latest_charge customer "
    "card_declined requested_by_customer \x00 \ud7ff 𝒜 ١٢ ' \" ; <b> %00 [] [ ] a[b] metadata['k']:'v' amount>5 -status:'x' "
    "status:'succeeded' null 1700000000 cus_nobody pi_x_secret_y US 00 +1 v1 {}".split(" ")
)
VALUES = st.one_of(WORDS, st.text(max_size=30), st.integers().map(str))
FIELDS = sorted({name for route in ROUTES for name in route.spec.fields} | {"expand", "key", "metadata"})
NAMES = st.one_of(
    st.sampled_from(FIELDS),
    st.sampled_from(FIELDS).flatmap(lambda f: st.sampled_from([f"{f}[]", f"{f}[0]", f"{f}[1]", f"{f}[a]"])),
    st.tuples(
        st.sampled_from(FIELDS), st.lists(st.sampled_from(["", "0", "a", "card", "number"]), max_size=9)
    ).map(lambda t: t[0] + "".join(f"[{x}]" for x in t[1])),
    st.text(max_size=12),
)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=12)
METHODS = st.sampled_from("GET POST DELETE PUT PATCH HEAD OPTIONS TRACE get BREW".split())
ENVELOPE = {"api_error", "card_error", "idempotency_error", "invalid_request_error"}


def encoded(pairs: list[tuple[str, str]]) -> str:
    return "&".join(
        f"{quote(name, safe='[]', errors='replace')}={quote(value, errors='replace')}"
        for name, value in pairs
    )


def busy(seed: int = 3) -> tuple[Simulator, list[str]]:
    """Return a simulator in which one of each kind exists, and their ids."""
    sim = Simulator(clock=ManualClock(), seed=seed)
    sim.webhook_endpoints.create(url="http://hook.test/", enabled_events=["*"])
    customer = sim.customers.create(name="Ada")
    paid = sim.payment_intents.create(
        amount=2000, currency="usd", customer=customer.id, payment_method="pm_card_visa", confirm=True
    )
    held = sim.payment_intents.create(
        amount=900, currency="usd", payment_method="pm_card_visa", confirm=True, capture_method="manual"
    )
    asked = sim.payment_intents.create(
        amount=900, currency="usd", payment_method="pm_card_threeDSecure2Required", confirm=True
    )
    disputed = sim.payment_intents.create(
        amount=900, currency="usd", payment_method="pm_card_createDispute", confirm=True
    )
    setup = sim.setup_intents.create(allowed_payment_method_types=["card"])
    refund = sim.refunds.create(payment_intent=paid.id, amount=100)
    sim.advance(10)
    ids = [customer.id, paid.id, paid.latest_charge, held.id, asked.id, disputed.id, setup.id, refund.id]
    ids += [o.id for o in sim.disputes.list().data] + [e.id for e in sim.events.list(limit=3).data]
    return sim, ids


SIM, IDS = busy()
REACHED: Counter[int] = Counter()
ID = st.one_of(st.sampled_from(IDS), st.sampled_from(IDS), VALUES.map(lambda v: quote(v, errors="replace")))


@st.composite
def paths(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 9)) == 0:
        return "/" + draw(st.text(max_size=60))
    path = draw(st.sampled_from(ROUTES)).path
    return "/".join(draw(ID) if part.startswith("{") else part for part in path.split("/"))


def judged(response: Response, sent: Any) -> Any:
    """Hold one answer to the law; return what it decodes to."""
    assert response.connection == "ok"
    assert response.status in (200, 400, 401, 402, 403, 404, 409, 413, 429), (response.status, sent)
    body = msgspec.json.decode(response.body)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Request-Id"].startswith("req_")
    for name, value in response.headers.items():
        assert "\r" not in name + value
        assert "\n" not in name + value
        value.encode("latin-1")
    if response.status >= 400:
        assert body["error"]["type"] in ENVELOPE, (body, sent)
        assert body["error"]["message"]
    return body


GOOD = {
    "amount": "2000",
    "currency": "usd",
    "payment_method": "pm_card_visa",
    "source": "tok_visa",
    "confirm": "true",
    "enabled_events[]": "*",
    "url": "http://hook.test/",
    "type": "card",
    "card[token]": "tok_visa",
    "query": "status:'succeeded'",
    "payment_intent": IDS[1],
    "customer": IDS[0],
    "metadata[k]": "v",
    "limit": "3",
}


PREFIXES = {
    "charges": "ch_",
    "customers": "cus_",
    "disputes": "du_",
    "events": "evt_",
    "payment_intents": "pi_",
    "refunds": "re_",
    "setup_intents": "seti_",
}


@st.composite
def aimed(draw: st.DrawFn) -> tuple[str, str, list[tuple[str, str]]]:
    """A request that its route may well accept: its method, ids that exist, its own parameters, one of them odd."""
    route = draw(st.sampled_from(ROUTES))
    fields = sorted(route.spec.fields)
    kind = PREFIXES.get(route.path.split("/")[2], "")
    fitting = [x for x in IDS if x.startswith(kind)] or IDS
    path = "/".join(draw(st.sampled_from(fitting)) if x.startswith("{") else x for x in route.path.split("/"))
    pairs = [(name, value) for name, value in GOOD.items() if name.partition("[")[0] in fields]
    if draw(st.booleans()):
        pairs = [pair for pair in pairs if pair[0] in route.spec.required or draw(st.booleans())]
    if fields and draw(st.booleans()):
        name = draw(st.sampled_from(fields)) + draw(st.sampled_from(["", "[]", "[a]"]))
        pairs.append((name, draw(VALUES)))
    if draw(st.integers(0, 4)) == 0:
        wanted = st.sampled_from(["customer", "data.customer", "latest_charge", "a.b.c.d.e", ""])
        pairs.append(("expand[]", draw(wanted)))
    return route.method, path, pairs


@given(
    request=st.one_of(aimed(), aimed(), aimed(), st.tuples(METHODS, paths(), PAIRS)),
    query=st.one_of(st.just([]), st.just([]), st.just([]), PAIRS),
    headers=st.one_of(
        st.just({}),
        st.just({}),
        st.dictionaries(
            st.sampled_from("idempotency-key stripe-version stripe-account content-type x-odd".split()),
            st.one_of(
                st.text(st.characters(max_codepoint=255), max_size=300),
                st.sampled_from(["application/json", "2026-10-28.endive", "key-1"]),
            ),
            max_size=3,
        ),
    ),
)
@settings(max_examples=1500)
def test_nothing_that_is_sent_breaks_the_wire(
    request: tuple[str, str, Any], query: Any, headers: dict[str, str]
) -> None:
    method, path, form = request
    if method == "GET":
        query, form = [*query, *form], []
    sent = {"authorization": f"Bearer {SIM.secret_key}", **headers}
    url = path + ("?" + encoded(query) if query else "")
    response = SIM.handle(Request(method, url, sent, encoded(form).encode()))
    judged(response, (method, url, sent, form))
    REACHED[response.status] += 1
    SIM.advance(1, lambda attempt: 200)


def test_the_fuzzing_reaches_what_it_is_aimed_at() -> None:
    # The control: a campaign that only ever heard "no such URL" would have proved nothing.
    if sum(REACHED.values()) >= 1000:
        assert REACHED[200] > 30, REACHED
        assert REACHED[400] > 100, REACHED


@given(
    body=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)),
    path=st.binary(max_size=40),
)
@settings(max_examples=400)
def test_bytes_that_are_no_form_break_nothing(body: bytes, path: bytes) -> None:
    for url in ("/v1/payment_intents", "/v1/tokens?" + path.decode("latin-1"), "/" + path.decode("latin-1")):
        sent = {"authorization": f"Bearer {SIM.secret_key}"}
        judged(SIM.handle(Request("POST", url, sent, body)), (url, body))


@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=paths(),
    form=PAIRS,
    key=st.one_of(
        st.sampled_from(
            [
                None,
                "Bearer ",
                "Bearer sk_test_",
                "Bearer sk_live_tillportsimulator",
                "Bearer rk_live_tillportsimulator",
                "Bearer pk_live_tillportsimulator",
                "bearer sk_test_tillportsimulatorx",
                "Bearer whsec_tillport",
                "Basic !!",
                "Basic c2tfdGVzdF94Og==",
                "Digest sk_test_tillportsimulator",
                "sk_test_tillportsimulator",
            ]
        ),
        st.text(st.characters(max_codepoint=255), max_size=60),
    ),
)
@settings(max_examples=500)
def test_a_key_of_the_wrong_kind_never_succeeds(method: str, path: str, form: Any, key: str | None) -> None:
    before = SIM.account.ids
    sent = {} if key is None else {"authorization": key}
    response = SIM.handle(Request(method, path, sent, encoded(form).encode()))
    judged(response, (method, path, key))
    assert response.status in (401, 403, 404, 413), (response.status, path, key)
    assert b"tillportsimulatorx" not in response.body
    assert SIM.account.ids is before


@given(path=paths(), form=PAIRS, method=st.sampled_from(["GET", "POST", "DELETE"]))
@settings(max_examples=500)
def test_a_publishable_key_opens_only_what_is_for_browsers(path: str, form: Any, method: str) -> None:
    sent = {"authorization": f"Bearer {SIM.publishable_key}"}
    response = SIM.handle(Request(method, path, sent, encoded(form).encode()))
    body = judged(response, (method, path, form))
    if response.status == 200:
        assert path.startswith(
            (
                "/v1/tokens",
                "/v1/payment_methods",
                "/v1/payment_intents/",
                "/v1/setup_intents/",
                "/v1/confirmation_tokens",
            )
        )
        assert body.get("object") != "list"


@pytest.mark.parametrize("prefix", ["sk_live_", "pk_live_", "rk_live_"])
def test_a_live_key_is_refused_with_a_word_on_why_and_not_repeated(prefix: str) -> None:
    response = SIM.handle(Request("GET", "/v1/charges", {"authorization": f"Bearer {prefix}51H8abcdefgh"}))
    assert response.status == 401
    assert b"live-mode" in response.body
    assert b"51H8" not in response.body


@given(
    method=METHODS,
    name=st.one_of(
        st.sampled_from(
            "clock faults script requests deliveries redeliver journal events stripe.js 3ds/x".split()
        ),
        st.text(max_size=20),
    ),
    body=st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"{}",
                b"[]",
                b'{"seconds": 1e999}',
                b'{"seconds": -5}',
                b'{"seconds": NaN}',
                b'{"seconds": "5"}',
                b'[{"kind": "meteor"}]',
                b'[{"kind": "drip", "times": -3, "seconds": -1}]',
                b'{"duplicate": 7}',
                b'{"event": "evt_x"}',
                b"[" * 2000,
            ]
        ),
    ),
    json=st.booleans(),
)
@settings(max_examples=500)
def test_the_control_routes_refuse_what_they_cannot_read(
    method: str, name: str, body: bytes, json: bool
) -> None:
    sim, _ = busy(4) if method == "BREW" else (OTHER, None)
    kind = {"content-type": "application/json"} if json else {}
    response = control(sim, Request(method, f"/_sim/{name}", kind, body))
    assert response.status in (200, 400, 403, 404, 405, 413, 415), (response.status, name, body)
    assert sim.account.now() < 1e12


OTHER, _ = busy(5)

"""Private accounts, snapshots, forks and resets: nobody meets anybody, and nothing is lost on the way."""

import time
from typing import Any

import msgspec
import pytest
import stripe

from tillport.simulator import ApiError, Attempt, Fault, Faults, ManualClock, RealClock, Request, Simulator
from tillport.simulator.control import control as control_routes
from tillport.simulator.sdk import SimulatorHTTPClient
from tillport.simulator.signing import Signer

PAY: Any = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}


def get(sim: Simulator, path: str, key: str) -> Any:
    response = sim.handle(Request("GET", path, {"authorization": f"Bearer {key}"}))
    return response.status, msgspec.json.decode(response.body)


def bytes_of(sim: Simulator) -> list[bytes]:
    """Go on with a fixed story and return every byte that came of it."""
    out: list[bytes] = []

    def sink(attempt: Attempt) -> int:
        out.append(attempt.body + attempt.headers["Stripe-Signature"].encode())
        return 500 if attempt.number == 1 else 200

    sim.payment_intents.create(**PAY)
    sim.advance(3600, sink)
    return out


# By key and by path -------------------------------------------------------------------------------------------------


def test_an_account_is_reached_by_its_key_and_by_its_path(sim):
    shop = sim.private_accounts.create("shop")
    intent = shop.payment_intents.create(**PAY)
    for path in ("/v1/payment_intents", "/acct/shop/v1/payment_intents"):
        status, page = get(sim, path, shop.secret_key)
        assert (status, [one["id"] for one in page["data"]]) == (200, [intent.id])
    assert get(sim, "/v1/payment_intents", sim.secret_key)[1]["data"] == []


def test_unknown_keys_answer_as_stripe_does(sim):
    sim.private_accounts.create("shop")
    for path in ("/v1/charges", "/acct/shop/v1/charges"):
        status, body = get(sim, path, "sk_test_nobody_knows_this_key")
        assert status == 401
        assert body["error"]["message"].startswith("Invalid API Key provided: sk_test_nob")


def test_one_accounts_key_does_not_open_anothers_path(sim):
    shop = sim.private_accounts.create("shop")
    sim.private_accounts.create("other")
    assert get(sim, "/acct/other/v1/charges", shop.secret_key)[0] == 401
    assert get(sim, "/acct/shop/v1/charges", sim.secret_key)[0] == 401


def test_an_unknown_path_is_an_unrecognized_url(sim):
    status, body = get(sim, "/acct/nobody/v1/charges", sim.secret_key)
    assert status == 404
    assert body["error"]["message"].startswith("Unrecognized request URL (GET: /acct/nobody/v1/charges)")


def test_a_publishable_key_keeps_its_permissions(sim):
    shop = sim.private_accounts.create("shop")
    assert get(sim, "/v1/charges", shop.publishable_key)[0] == 403


def test_the_official_sdk_reaches_an_account_by_its_key_alone(sim):
    shop = sim.private_accounts.create("shop")
    client = stripe.StripeClient(shop.secret_key, http_client=SimulatorHTTPClient(sim))
    client.v1.customers.create({"email": "a@example.com"})
    assert [one.email for one in shop.customers.list().data] == ["a@example.com"]
    assert sim.customers.list().data == []


@pytest.mark.parametrize("name", ["", "a/b", "ü", "-x", "x" * 65, "a b", "a\n"])
def test_a_name_that_makes_no_path_is_refused(sim, name):
    with pytest.raises(ValueError, match="letters, digits"):
        sim.private_accounts.create(name)


def test_a_name_or_key_is_given_once(sim):
    sim.private_accounts.create("shop")
    with pytest.raises(ValueError, match="already"):
        sim.private_accounts.create("shop")
    with pytest.raises(ValueError, match="already"):
        sim.private_accounts.create("other", secret_key="sk_test_tillportsimulator_shop")
    with pytest.raises(ValueError, match="already"):
        sim.private_accounts.create("other", secret_key=sim.secret_key)


def test_an_account_thrown_away_is_gone(sim):
    shop = sim.private_accounts.create("shop")
    shop.webhook_endpoints.create(url="http://a.test/", enabled_events=["*"])
    shop.payment_intents.create(**PAY)
    (first, *_) = sim.due_deliveries()
    sim.private_accounts.remove("shop")
    sim.delivery_result(first, 200)
    assert get(sim, "/v1/charges", shop.secret_key)[0] == 401
    assert sim.due_deliveries() == []
    assert sim.next_due() is None
    assert "shop" not in sim.private_accounts


# Together -----------------------------------------------------------------------------------------------------------


def test_the_host_delivers_for_everybody_and_settles_each_with_its_own(sim):
    for one in (sim, sim.private_accounts.create("a", seed=1), sim.private_accounts.create("b", seed=1)):
        one.webhook_endpoints.create(url=f"http://{one.account.name or 'host'}.test/", enabled_events=["*"])
        one.payment_intents.create(**PAY)
    heard: list[tuple[str, str]] = []

    def sink(attempt: Attempt) -> int:
        heard.append((attempt.account, attempt.url))
        return 200 if attempt.account != "b" else 500

    sim.advance(5, sink)
    assert set(heard) == {("", "http://host.test/"), ("a", "http://a.test/"), ("b", "http://b.test/")}
    assert sim.private_accounts["a"].account.deliveries.backlog == 0
    assert sim.private_accounts["b"].account.deliveries.backlog == 4
    assert sim.backlog == 4


def test_a_limit_starves_nobody(sim):
    for name in ("a", "b", "c"):
        one = sim.private_accounts.create(name)
        one.webhook_endpoints.create(url="http://x.test/", enabled_events=["*"])
        for _ in range(3):
            one.payment_intents.create(**PAY)
    first = [attempt.account for _ in range(4) for attempt in sim.due_deliveries(limit=2)]
    assert set(first) == {"a", "b", "c"}


def test_every_account_has_a_clock_of_its_own_and_the_host_moves_all(sim, clock):
    shop = sim.private_accounts.create("shop")
    start = clock.now()
    shop.advance(100)
    assert (sim.clock.now(), shop.clock.now()) == (start, start + 100)
    sim.advance(50)
    assert (sim.clock.now(), shop.clock.now()) == (start + 50, start + 150)


def test_next_due_is_told_by_the_hosts_clock(sim, clock):
    shop = sim.private_accounts.create("shop", clock=ManualClock(clock.now() + 1_000_000))
    shop.payment_intents.create(**PAY)
    assert sim.next_due() == clock.now() + 2.0


def test_each_has_its_own_faults_seed_and_endpoints(sim):
    bad = sim.private_accounts.create("bad", faults=Faults(unavailable=1.0))
    good = sim.private_accounts.create("good", seed="x")
    same = sim.private_accounts.create("same", seed="x")
    assert good.payment_intents.create(**PAY).id == same.payment_intents.create(**PAY).id
    assert get(sim, "/v1/charges", bad.secret_key)[0] == 503
    assert get(sim, "/v1/charges", good.secret_key)[0] == 200
    assert good.payment_intents.create(**PAY).id != sim.payment_intents.create(**PAY).id


def test_the_control_routes_look_at_one_or_at_all(sim):
    shop = sim.private_accounts.create("shop")
    shop.script("answer_lost")
    status, state = get(sim, "/acct/shop/_sim/", "")
    assert (status, state["secret_key"]) == (200, shop.secret_key)
    assert [f["kind"] for f in get(sim, "/acct/shop/_sim/faults", "")[1]["script"]] == ["answer_lost"]


def control(sim: Simulator, method: str, path: str, body: Any = None) -> Any:
    headers = {} if body is None else {"content-type": "application/json"}
    raw = b"" if body is None else msgspec.json.encode(body)
    response = control_routes(sim, Request(method, path, headers, raw))
    return response.status, msgspec.json.decode(response.body)


def test_accounts_are_made_forked_reset_and_thrown_away_over_control_routes(sim):
    status, made = control(sim, "POST", "/_sim/accounts", {"name": "shop", "seed": "x"})
    assert (status, made["path"], made["secret_key"]) == (200, "/acct/shop", "sk_test_tillportsimulator_shop")
    sim.private_accounts["shop"].customers.create(email="a@example.com")
    assert control(sim, "POST", "/_sim/accounts", {"name": "twin", "like": "shop"})[0] == 200
    assert len(sim.private_accounts["twin"].customers.list().data) == 1
    assert control(sim, "POST", "/_sim/accounts/shop/reset", {})[0] == 200
    assert len(sim.private_accounts["shop"].customers.list().data) == 0
    assert [one["name"] for one in control(sim, "GET", "/_sim/accounts")[1]["accounts"]] == ["shop", "twin"]
    assert control(sim, "GET", "/_sim/")[1]["accounts"] == ["shop", "twin"]
    assert control(sim, "DELETE", "/_sim/accounts/shop")[0] == 200
    assert control(sim, "GET", "/_sim/accounts/shop")[0] == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "a/b"}, "letters, digits"), ({"like": "nobody"}, "no account"), ({"nme": "x"}, "unknown field"),
        ({"name": "shop", "seed": "x", "like": "shop"}, "already"), ([], "Expected"),
    ],
)  # fmt: skip
def test_a_wrong_order_for_an_account_is_refused_in_words(sim, body, words):
    sim.private_accounts.create("shop")
    status, answer = control(sim, "POST", "/_sim/accounts", body)
    assert status in (400, 404)
    assert words in answer["error"]["message"]


@pytest.mark.parametrize("clock", [ManualClock, RealClock])
@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "backwards"), (1e18, "the year 9998"), (1e300, "the year 9998")]
)
def test_a_step_that_no_clock_can_make_is_refused_and_not_made(clock, seconds, words):
    sim = Simulator(clock=clock(), seed=1)
    status, answer = control(sim, "POST", "/_sim/clock", {"seconds": seconds})
    assert (status, words in answer["error"]["message"]) == (400, True)
    with pytest.raises(ValueError, match=words):
        sim.clock.advance(seconds)
    assert control(sim, "POST", "/_sim/clock", {"seconds": 60})[0] == 200
    assert sim.payment_intents.create(**PAY).status == "succeeded"


def test_the_host_resets_without_losing_its_accounts(sim):
    shop = sim.private_accounts.create("shop")
    shop.customers.create()
    sim.customers.create()
    assert control(sim, "POST", "/_sim/reset", {})[0] == 200
    assert len(sim.customers.list().data) == 0
    assert len(shop.customers.list().data) == 1


def test_the_banks_page_of_an_account_is_under_its_path(sim):
    shop = sim.private_accounts.create("shop")
    sim.base_url = "http://127.0.0.1:12111"
    intent = shop.payment_intents.create(
        **{**PAY, "payment_method": "pm_card_authenticationRequired"}, return_url="http://shop.test/back"
    )
    url = intent.next_action["redirect_to_url"]["url"]
    assert url.startswith("http://127.0.0.1:12111/acct/shop/_sim/3ds/")
    form = Request("POST", url.removeprefix("http://127.0.0.1:12111"), {}, b"outcome=succeed")
    assert sim.handle(form).status == 303
    assert shop.payment_intents.retrieve(intent.id).status == "succeeded"


@pytest.mark.parametrize(
    ("back", "page", "place"),
    [
        ("https://shop.test/back", "https://shop.test/back?", ""),
        ("https://shop.test/?order=1#/done", "https://shop.test/?order=1&", "#/done"),
        ("https://shop.test/#/done?a=b", "https://shop.test/?", "#/done?a=b"),
        ("shop-app://back", "shop-app://back?", ""),
    ],
)
def test_the_customer_comes_back_with_the_outcome_in_the_query(sim, back, page, place):
    intent = sim.payment_intents.create(
        **{**PAY, "payment_method": "pm_card_authenticationRequired"}, return_url=back
    )
    answer = control_routes(sim, Request("POST", f"/_sim/3ds/{intent.id}", {}, b"outcome=succeed"))
    told = f"payment_intent={intent.id}&payment_intent_client_secret={intent.client_secret}"
    assert answer.status == 303
    assert answer.headers["Location"] == f"{page}{told}&redirect_status=succeeded{place}"


@pytest.mark.parametrize(
    "back", ["/back", "shop.test/back", "not a URL", "https://", "https://shop.test/a b"]
)
def test_a_customer_is_sent_back_to_a_whole_url_alone(sim, back):
    with pytest.raises(ApiError, match="Not a valid URL") as refused:
        sim.payment_intents.create(**PAY, return_url=back)
    assert (refused.value.code, refused.value.param) == ("url_invalid", "return_url")
    assert sim.charges.list().data == []
    intent = sim.setup_intents.create(payment_method="pm_card_visa")
    with pytest.raises(ApiError, match="Not a valid URL"):
        sim.setup_intents.confirm(intent.id, return_url=back)


# Freeze, fork, reset ------------------------------------------------------------------------------------------------


def prepared() -> Simulator:
    """Return an account in the middle of everything: jobs, retries, attempts in flight, faults, keys, endpoints."""
    sim = Simulator(clock=ManualClock(), seed=5)
    sim.webhook_endpoints.create(url="http://shop.test/", enabled_events=["*"])
    customer = sim.customers.create(email="a@example.com", source="tok_visa")
    sim.payment_intents.create(**PAY, customer=customer.id, idempotency_key="k")
    sim.payment_intents.create(**{**PAY, "payment_method": "pm_card_createDispute"})
    held = sim.payment_intents.create(**PAY, capture_method="manual")
    sim.refunds.create(payment_intent=sim.payment_intents.create(**PAY).id)
    sim.setup_intents.create(payment_method="pm_card_visa", confirm=True)
    sim.advance(3, lambda attempt: 500 if attempt.id % 3 else 200)
    sim.balance.retrieve()
    sim.script(Fault(kind="duplicate", times=3, skip=1))
    sim.payment_intents.capture(held.id, amount_to_capture=500)
    return sim


def test_a_fork_goes_on_exactly_as_the_original_would():
    original = prepared()
    snapshot = original.freeze()
    first, second = snapshot.fork(), snapshot.fork()
    expected = bytes_of(original)
    assert len(expected) > 10
    assert bytes_of(first) == expected
    assert bytes_of(second) == expected
    assert bytes_of(snapshot.fork()) == expected


def test_a_fork_changes_nothing_elsewhere():
    original = prepared()
    before = msgspec.to_builtins(original.events.list(limit=100))
    fork = original.freeze().fork()
    fork.advance(40 * 86_400, lambda attempt: 200)
    for customer in fork.customers.list().data:
        fork.customers.delete(customer.id)
    fork.webhook_endpoints.delete(fork.webhook_endpoints.list().data[0].id)
    fork.set_faults(Faults(drop=1.0))
    assert msgspec.to_builtins(original.events.list(limit=100)) == before
    assert len(original.customers.list().data) == 1
    assert len(original.webhook_endpoints.list().data) == 1
    assert original.account.faults.rates.drop == 0
    assert original.account.faults.script[0].times == 3


def test_no_state_is_shared_that_can_change():
    """Walk both accounts: whatever is mutable and reachable from both is named here, or it is a mistake."""
    original = prepared()
    fork = original.freeze().fork()
    seen: dict[int, str] = {}

    def walk(value: Any, path: str, found: dict[int, str], depth: int = 0) -> None:
        if isinstance(
            value, str | int | float | bytes | frozenset | None | msgspec.Struct | Signer
        ) or callable(value):
            return
        if id(value) in found or depth > 6:
            return
        if not isinstance(value, tuple):
            found[id(value)] = path
        items: Any = ()
        if isinstance(value, dict):
            items = [(f"{path}[]", item) for item in value.values()]
        elif isinstance(value, list | tuple | set):
            items = [(f"{path}[]", item) for item in value]
        elif type(value).__name__ not in ("Collection", "Random"):
            names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
            items = [(f"{path}.{name}", getattr(value, name)) for name in names]
        for name, item in items:
            walk(item, name, found, depth + 1)

    walk(original.account, "account", seen)
    other: dict[int, str] = {}
    walk(fork.account, "account", other)
    shared = {path for at, path in other.items() if at in seen and path.count("[]") < 4}
    assert {path for path in shared if not path.endswith(("retry_seconds", "[]"))} == set()


def test_what_was_in_flight_goes_out_again_in_the_fork():
    sim = Simulator(clock=ManualClock(), seed=1)
    sim.webhook_endpoints.create(url="http://shop.test/", enabled_events=["*"])
    sim.customers.create()
    (attempt,) = sim.due_deliveries()
    fork = sim.freeze().fork()
    (again,) = fork.due_deliveries()
    assert again.event_id == attempt.event_id
    fork.delivery_result(again, 200)
    sim.delivery_result(attempt, 200)
    assert fork.backlog == sim.backlog == 0


def test_an_idempotency_key_is_known_to_the_fork_and_forgotten_by_nobody():
    sim = prepared()
    fork = sim.freeze().fork()
    form = {"authorization": f"Bearer {sim.secret_key}", "idempotency-key": "once"}
    body = b"amount=700&currency=usd"
    answers = [
        msgspec.json.decode(one.handle(Request("POST", "/v1/payment_intents", form, body)).body)
        for one in (sim, sim.freeze().fork())
    ]
    assert answers[0]["id"] == answers[1]["id"]
    assert (
        fork.handle(Request("POST", "/v1/payment_intents", form, body)).headers.get("Idempotent-Replayed")
        is None
    )


def test_a_private_account_begins_as_a_fork(sim):
    snapshot = prepared().freeze()
    one, other = (sim.private_accounts.create(name, like=snapshot) for name in ("one", "other"))
    one.customers.create(email="b@example.com")
    assert len(one.customers.list().data) == 2
    assert len(other.customers.list().data) == 1
    assert get(sim, "/v1/customers", other.secret_key)[1]["data"][0]["email"] == "a@example.com"
    assert get(sim, "/v1/customers", snapshot.account.secret_key)[1]["data"] == []


def test_reset_goes_back_to_the_beginning_or_to_a_snapshot(clock):
    sim = Simulator(clock=clock, seed=3)
    first = sim.customers.create().id
    snapshot = sim.freeze()
    sim.customers.create()
    operations = sim.customers.list
    sim.reset(snapshot)
    assert [one.id for one in operations().data] == [first]
    sim.reset()
    assert sim.customers.create().id == first
    sim.reset()
    assert operations().data == []


def test_a_fork_is_reset_to_where_it_began_time_included():
    fork = prepared().freeze().fork()
    expected, began = bytes_of(fork), fork.clock.now()
    fork.reset()
    assert fork.clock.now() < began
    assert bytes_of(fork) == expected


def test_an_attempt_from_before_a_reset_is_nobodys_afterwards(clock):
    sim = Simulator(clock=clock, seed=3)
    sim.webhook_endpoints.create(url="http://shop.test/", enabled_events=["*"])
    snapshot = sim.freeze()
    sim.customers.create()
    (old,) = sim.due_deliveries()
    sim.reset(snapshot)
    sim.customers.create()
    (new,) = sim.due_deliveries()
    sim.delivery_result(old, 200)
    assert sim.backlog == 1
    sim.delivery_result(new, 200)
    assert sim.backlog == 0


def test_a_fork_of_real_time_stays_as_far_ahead():
    clock = RealClock()
    clock.advance(1000)
    fork = Simulator(clock=clock).freeze().fork()
    fork.advance(500)
    assert 1499 < fork.clock.now() - time.time() < 1501
    assert 999 < clock.now() - time.time() < 1001


def test_a_large_account_forks_without_copying_its_tables():
    sim = Simulator(clock=ManualClock(), seed=1)
    for _ in range(3000):
        sim.tokens.create(card={"number": "4242424242424242", "exp_month": 1, "exp_year": 2030})
    snapshot = sim.freeze()
    small = Simulator(clock=ManualClock(), seed=1).freeze()

    def cost(of: Any) -> float:
        return min(_timed(of.fork) for _ in range(20))

    assert cost(snapshot) < 4 * cost(small) + 0.002


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_accounts_are_made_and_thrown_away_in_about_a_millisecond(sim):
    snapshot = prepared().freeze()

    def make() -> None:
        sim.private_accounts.create("x")
        sim.private_accounts.remove("x")

    # Ten times what it takes on a quiet machine: a guard against a slip in kind, not a measurement.
    assert min(_timed(make) for _ in range(20)) < 0.01
    assert min(_timed(snapshot.fork) for _ in range(20)) < 0.01


# The journal --------------------------------------------------------------------------------------------------------


def test_the_journal_tells_the_story_in_order(clock):
    sim = Simulator(clock=clock, seed=1, journal=1000)
    sim.webhook_endpoints.create(url="http://shop.test/", enabled_events=["*"])
    mark = sim.journal.mark
    sim.script(Fault(kind="duplicate"))
    sim.payment_intents.create(**PAY)
    sim.advance(0, lambda attempt: 500)
    kinds = [entry.kind for entry in sim.journal.find(after=mark)]
    assert kinds.index("created") < kinds.index("event") < kinds.index("request") < kinds.index("fault")
    assert kinds.count("attempt") == kinds.count("answer") == 4
    charge = sim.journal.find("created", "charge")[0].value
    assert [v.status for v in sim.journal.versions(charge.id)][-1] == "succeeded"
    assert [e.name for e in sim.journal.find("event")][1:] == ["charge.succeeded", "payment_intent.succeeded"]
    assert {e.value for e in sim.journal.find("answer")} == {500}
    assert "fault    duplicate payment_intent.created" in sim.journal.story()


def test_the_journal_has_the_wire_and_its_faults(clock):
    sim = Simulator(clock=clock, seed=1, journal=1000)
    sim.script(Fault(kind="answer_lost", method="POST"))
    headers = {"authorization": f"Bearer {sim.secret_key}"}
    sim.handle(Request("POST", "/v1/customers", headers, b"email=a@example.com"))
    sim.handle(Request("GET", "/v1/charges/ch_none", headers))
    requests = sim.journal.find("request")
    assert [(r.name, r.value.fault, r.value.status) for r in requests] == [
        ("POST /v1/customers", "answer_lost", 200),
        ("GET /v1/charges/ch_none", None, 404),
    ]
    assert [(f.name, f.id) for f in sim.journal.find("fault")] == [("answer_lost", "POST /v1/customers")]


def test_the_journal_holds_failed_calls_and_removed_objects(clock):
    sim = Simulator(clock=clock, seed=1, journal=1000)
    with pytest.raises(ApiError):
        sim.charges.retrieve("ch_none")
    customer = sim.customers.create()
    sim.customers.update(customer.id, email="b@example.com")
    sim.customers.delete(customer.id)
    assert [e.value.status for e in sim.journal.find("request", "GET /v1/charges/ch_none")] == [404]
    (updated,) = sim.journal.find("updated", "customer")
    assert (updated.before.email, updated.value.email) == (None, "b@example.com")
    assert [e.before.id for e in sim.journal.find("removed", "customer")] == [customer.id]


def test_the_journal_is_bounded_and_says_so(clock):
    sim = Simulator(clock=clock, seed=1, journal=10)
    mark = sim.journal.mark + 1
    for _ in range(20):
        sim.customers.create()
    assert len(sim.journal) == 10
    with pytest.raises(LookupError):
        sim.journal.find(after=mark)


def test_without_a_journal_asking_for_it_fails_loudly(sim):
    with pytest.raises(RuntimeError, match="keeps no journal"):
        len(sim.journal)


def test_a_fork_writes_a_journal_of_its_own(clock):
    sim = Simulator(clock=clock, seed=1, journal=100)
    sim.customers.create()
    fork = sim.freeze().fork()
    assert len(fork.journal) == 0
    fork.customers.create()
    assert len(fork.journal) == 3
    assert len(sim.journal) == 3


# Retention ----------------------------------------------------------------------------------------------------------


def counts(sim: Simulator) -> dict[str, int]:
    account = sim.account
    names = (
        "payment_intents",
        "charges",
        "balance_transactions",
        "payment_methods",
        "tokens",
        "refunds",
        "events",
    )
    return {name: len(getattr(account, name)) for name in names} | {
        "jobs": len(account._jobs), "keys": len(account.idempotency._records), "rows": len(account.events._rows),
    }  # fmt: skip


def test_retention_bounds_everything_though_the_clock_stands_still(clock):
    sim = Simulator(clock=clock, seed=1, retain=50)
    most: dict[str, int] = {}
    for number in range(600):
        intent = sim.payment_intents.create(
            **{k: v for k, v in PAY.items() if k != "payment_method"},
            payment_method_data={"type": "card", "card": {"token": "tok_visa"}},
        )
        if number % 3 == 0:
            sim.refunds.create(payment_intent=intent.id)
        for name, count in counts(sim).items():
            most[name] = max(most.get(name, 0), count)
    assert most["payment_intents"] <= 76
    assert most["charges"] <= 76
    assert all(count <= 16 * 76 for count in most.values()), most
    assert sim.payment_intents.retrieve(intent.id).id == intent.id


def test_the_newest_payments_stay_whole(clock):
    sim = Simulator(clock=clock, seed=1, retain=20)
    customer = sim.customers.create(email="a@example.com")
    kept = sim.payment_methods.attach(
        sim.payment_methods.create(type="card", card={"token": "tok_visa"}).id, customer=customer.id
    )
    ids = [sim.payment_intents.create(**PAY).id for _ in range(100)]
    for intent_id in ids[-20:]:
        intent = sim.payment_intents.retrieve(intent_id, expand=["latest_charge"])
        assert (
            intent.latest_charge["paid"]
            if isinstance(intent.latest_charge, dict)
            else intent.latest_charge.paid
        )
        assert sim.payment_methods.retrieve(intent.payment_method).id == intent.payment_method
    with pytest.raises(ApiError, match="No such"):
        sim.payment_intents.retrieve(ids[0])
    assert sim.payment_methods.retrieve(kept.id).customer == customer.id
    sim.advance(30 * 86_400, lambda attempt: 200)


def test_the_balance_counts_what_is_forgotten(clock):
    forgetting, remembering = Simulator(clock=clock, seed=1, retain=10), Simulator(clock=clock, seed=1)
    for sim in (forgetting, remembering):
        for _ in range(60):
            sim.payment_intents.create(**PAY, capture_method="automatic")
    clock.advance(40 * 86_400)
    assert forgetting.balance.retrieve() == remembering.balance.retrieve()


def test_pages_go_on_after_forgetting(clock):
    sim = Simulator(clock=clock, seed=1, retain=20)
    for _ in range(200):
        sim.payment_intents.create(**PAY)
        clock.advance(1)
    first = sim.payment_intents.list(limit=10)
    second = sim.payment_intents.list(limit=10, starting_after=first.data[-1].id)
    ids = [one.id for one in (*first.data, *second.data)]
    assert len(set(ids)) == 20
    assert ids == [one.id for one in sim.payment_intents.list(limit=20).data]
    assert all(e.type == "charge.succeeded" for e in sim.events.list(type="charge.succeeded", limit=50).data)

"""The steps of the demo: one function each. A step does something over HTTP and proves it by other evidence."""

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import quote

import attrs

from tillport.adapters.cli.demo.evidence import Books, Rows, wait_until
from tillport.adapters.cli.demo.http import Answer, Heard, Subscriber, call, call_json
from tillport.adapters.cli.demo.stage import Stage
from tillport.adapters.cli.demo.story import Story

AMOUNT_MINOR = 1250
GOOD_CARD = "4242424242424242"
BAD_CARD = "4000000000009995"
"""Stripe's test card that is declined for insufficient funds (docs.stripe.com/testing)."""
WAIT_SECONDS = 8.0


@attrs.define
class Scene:
    """What the steps share: where everything is, and what the steps before found out."""

    stage: Stage
    story: Story
    books: Books
    rows: Rows
    broken: str | None = None
    publishable_key: str = ""
    signing_secret: str = attrs.field(default="", repr=False)
    token: str = attrs.field(default="", repr=False)
    charge: dict[str, Any] = attrs.field(factory=dict)
    charged_at: float = 0.0
    event_id: str = ""
    subscriber: Subscriber | None = None

    def tokenise(self, number: str) -> Answer:
        """Turn a card into a token, as a page does: with the publishable key, straight at Stripe."""
        card = {"number": number, "exp_month": "12", "exp_year": "2040", "cvc": "123"}
        form = {f"card[{name}]": value for name, value in card.items()}
        self.story.sent(
            f"POST {self.books.url}/v1/tokens   card {number[:4]} … {number[-4:]}, publishable key"
        )
        answer = self.books.request("POST", "/v1/tokens", form, key=self.publishable_key)
        self.story.came(f"{answer}   {answer.json().get('id', answer.body[:200])}")
        return answer

    def subscribe(self) -> Subscriber:
        """Listen to the charge with the app key, by the seed's selector."""
        selector = f"id = '{self.charge['id']}'"
        self.story.sent(f"GET {self.stage.url}/events/stream   selector: {selector}, app key")
        return Subscriber(
            f"{self.stage.url}/events/stream?selector={quote(selector)}",
            {"Authorization": f"Bearer {self.stage.app_key}"},
        )

    def about_success(self, heard: Heard) -> bool:
        """Tell whether a message is the one that the client waits for."""
        return heard.name == "charge.succeeded" and heard.data.get("id") == self.event_id


def start(scene: Scene) -> None:
    """Start both servers and register the webhook, as the seed's installation does at Stripe."""
    stage, story = scene.stage, scene.story
    seconds = stage.start_stripe()
    story.came(f"a simulated Stripe on {stage.stripe_url}   ({seconds * 1000:.0f} ms)")
    scene.books = Books(stage.stripe_url)
    state = scene.books.state()
    scene.books = Books(stage.stripe_url, state["secret_key"])
    scene.publishable_key = state["publishable_key"]
    form = {"url": stage.webhook_url, "enabled_events[0]": "*"}
    story.sent(f"POST {stage.stripe_url}/v1/webhook_endpoints   url={_short(stage.webhook_url, stage)}")
    scene.signing_secret = scene.books.api("POST", "/v1/webhook_endpoints", form)["secret"]
    story.came("a signing secret, whsec_…, which goes into the service's settings")
    taken = f"whsec_{'0' * 32}" if scene.broken == "secret" else scene.signing_secret
    seconds = stage.start_service(
        stripe_key=state["secret_key"], publishable_key=scene.publishable_key, signing_secret=taken
    )
    story.came(f"the service on {stage.url}   ({seconds * 1000:.0f} ms), its records in {stage.database}")
    if scene.broken == "deliveries":
        scene.books.control("faults", {"drop": 1.0})
    story.proved(
        "both are processes of their own, and the books are empty",
        holds=_empty(scene),
        seen=scene.books.state(),
    )


def tokenise(scene: Scene) -> None:
    """Steps 1 and 2 of the seed."""
    answer = scene.tokenise(GOOD_CARD)
    token = answer.json()
    scene.token = token.get("id", "")
    scene.story.proved(
        "it is a token for one use, of the card that ends in 4242",
        holds=scene.token.startswith("tok_1") and token["card"]["last4"] == "4242" and token["used"] is False,
        seen=token,
    )
    scene.story.proved(
        "nothing was charged by that", holds=not scene.books.charges(), seen=scene.books.charges()
    )


def charge(scene: Scene) -> None:
    """Steps 3 to 6 of the seed, at the seed's URL and in the seed's words."""
    stage, story = scene.stage, scene.story
    story.sent(
        f"POST {_short(stage.seed_charge_url, stage)}   " + f'{{"token": "tok_…", "amount": {AMOUNT_MINOR}}}'
    )
    answer = call_json("POST", stage.seed_charge_url, {"token": scene.token, "amount": AMOUNT_MINOR})
    scene.charged_at = time.perf_counter()
    scene.charge = answer.json()
    story.came(f"{answer}   {_said(answer)}")
    story.proved(
        "the answer is a charge, and it succeeded",
        holds=answer.status == 200
        and scene.charge.get("status") == "succeeded"
        and scene.charge["id"][:3] == "ch_",
        seen=f"{answer.status} {answer.body[:400].decode('utf-8', 'replace')}",
    )
    taken = scene.books.taken()
    story.proved(
        "Stripe's books hold this one charge, of 12.50 USD",
        holds=[(one["id"], one["amount"], one["currency"]) for one in taken]
        == [(scene.charge["id"], AMOUNT_MINOR, "usd")],
        seen=taken,
    )


def show_charge(scene: Scene) -> None:
    """What the client has in hand."""
    names = ("id", "object", "amount", "currency", "status", "paid", "captured", "payment_intent", "created")
    scene.story.shows(json.dumps({name: scene.charge.get(name) for name in names}, indent=2))
    stored = scene.books.api("GET", f"/v1/charges/{scene.charge['id']}")
    differ = [name for name in names if stored.get(name) != scene.charge.get(name)]
    scene.story.proved("it is the charge that Stripe shows under this id", holds=not differ, seen=differ)


def webhook(scene: Scene) -> None:
    """Step 7, its first half: Stripe calls."""
    scene.subscriber = scene.subscribe()
    event = scene.books.event_about(scene.charge["id"], "charge.succeeded")
    scene.story.proved(
        "Stripe made an event charge.succeeded of it", holds=event is not None, seen="no such event"
    )
    assert event is not None
    scene.event_id = event["id"]

    def settled() -> dict[str, Any] | None:
        known = (
            attempt for attempt in scene.books.deliveries(scene.event_id) if attempt["status"] is not None
        )
        return next(known, None)

    attempt = wait_until(settled, seconds=WAIT_SECONDS)
    status = None if attempt is None else attempt["status"]
    scene.story.sent(
        f"POST {_short(scene.stage.webhook_url, scene.stage)}   by Stripe: {scene.event_id}, signed"
    )
    scene.story.came(f"{status or 'no answer'}   by the service")
    scene.story.proved(
        "Stripe delivered the event, and the service acknowledged it",
        holds=status == 200,
        seen=_delivery(attempt),
    )


def row(scene: Scene) -> None:
    """Step 7: it is in the table."""
    rows = scene.rows.of(scene.event_id)
    scene.story.proved("the file holds one row of this event", holds=len(rows) == 1, seen=f"{len(rows)} rows")
    found = rows[0]
    columns = ("seq", "event_id", "id", "type", "payment_key", "livemode", "created", "received_at")
    scene.story.shows("\n".join(f"{name:12} {found[name]}" for name in columns))
    body = json.loads(found["body"])
    scene.story.proved(
        "its id is the charge's, and its body is the event as Stripe wrote it",
        holds=found["id"] == scene.charge["id"] and body["data"]["object"]["amount"] == AMOUNT_MINOR,
        seen=found["id"],
    )


def message(scene: Scene) -> None:
    """Step 7, its second half: the client is told."""
    assert scene.subscriber is not None
    heard = scene.subscriber.wait_for(scene.about_success, seconds=WAIT_SECONDS)
    scene.story.proved(
        "the subscriber heard of it",
        holds=heard is not None,
        seen=[one.name for one in scene.subscriber.heard],
    )
    assert heard is not None
    scene.story.came(
        f"event: {heard.name}   id: {heard.id}   {(heard.at - scene.charged_at) * 1000:.0f} ms after the charge"
    )
    scene.story.shows(json.dumps(heard.data, indent=2))
    text = json.dumps(heard.data)
    scene.story.proved(
        "it is told about the charge, without who paid or how",
        holds=scene.charge["id"] in text and "4242" not in text and "client_secret" not in text,
        seen=text,
    )


def decline(scene: Scene) -> None:
    """A card without money."""
    token = scene.tokenise(GOOD_CARD if scene.broken == "decline" else BAD_CARD).json()["id"]
    before = len(scene.books.taken())
    answer = _charge(scene, token)
    scene.story.proved(
        "the client is told that the card was declined, and why",
        holds=answer.status == 402 and "insufficient_funds" in answer.body.decode(),
        seen=f"{answer.status} {_said(answer)}",
    )
    failed = [one for one in scene.books.charges() if one["status"] == "failed"]
    scene.story.proved(
        "Stripe's books hold a failed charge, and no money moved",
        holds=len(failed) == 1 and len(scene.books.taken()) == before,
        seen=[(one["id"], one["status"]) for one in scene.books.charges()],
    )


def lost_answer(scene: Scene) -> None:
    """Stripe charges, and its answer is lost on the way."""
    token = scene.tokenise(GOOD_CARD).json()["id"]
    taken = {one["id"] for one in scene.books.taken()}
    asked = len(scene.books.requests("POST", "/v1/payment_intents"))
    scene.books.control("script", [{"kind": "answer_lost", "method": "POST", "path": "/v1/payment_intents"}])
    answer = _charge(scene, token)
    tries = scene.books.requests("POST", "/v1/payment_intents")[asked:]
    for one in tries:
        how = "the charge was made, and the answer lost" if one["fault"] else f"answered {one['status']}"
        again = ", from memory: the same answer" if one["replayed"] else ""
        scene.story.shows(f"at Stripe: key {one['idempotency_key'][:20]}…  {how}{again}")
    keys = {one["idempotency_key"] for one in tries}
    scene.story.proved(
        "the service asked again under the same key, and got the charge",
        holds=answer.status == 200
        and len(keys) == 1
        and [bool(one["fault"]) for one in tries] == [True, False],
        seen=f"{answer.status} {tries}",
    )
    if scene.broken == "retry":
        _charge(scene, scene.tokenise(GOOD_CARD).json()["id"])
    again_answer = _charge(scene, token)
    scene.story.proved(
        "the client that sends its request again gets the same charge",
        holds=again_answer.json().get("id") == answer.json()["id"]
        and again_answer.headers.get("idempotent-replayed") == "true",
        seen=f"{again_answer.status} {again_answer.json().get('id')}",
    )
    new = [one["id"] for one in scene.books.taken() if one["id"] not in taken]
    scene.story.proved("Stripe's books grew by one charge", holds=new == [answer.json()["id"]], seen=new)


def duplicate(scene: Scene) -> None:
    """Stripe delivers an event again, as it does."""
    assert scene.subscriber is not None
    if scene.broken != "duplicate":
        scene.books.control("redeliver", {"event": scene.event_id})
    scene.story.sent(
        f"POST {_short(scene.stage.webhook_url, scene.stage)}   by Stripe: {scene.event_id}, again"
    )

    def twice() -> list[int] | None:
        done = [one["status"] for one in scene.books.deliveries(scene.event_id) if one["status"] is not None]
        return done if len(done) >= 2 else None

    statuses = wait_until(twice, seconds=WAIT_SECONDS if scene.broken is None else 1)
    scene.story.came(f"{statuses}   by the service")
    scene.story.proved(
        "it was delivered twice and acknowledged twice", holds=statuses == [200, 200], seen=statuses
    )
    rows = scene.rows.of(scene.event_id)
    scene.story.proved("there is still one row", holds=len(rows) == 1, seen=f"{len(rows)} rows")
    # What comes later on the same stream proves that nothing came in between.
    scene.books.control("clock", {"seconds": 5})
    later = scene.subscriber.wait_for(lambda heard: heard.name == "charge.updated", seconds=WAIT_SECONDS)
    told = [heard for heard in scene.subscriber.heard if scene.about_success(heard)]
    scene.story.proved(
        "the subscriber was told once, and has heard what came later",
        holds=later is not None and len(told) == 1,
        seen=[(heard.id, heard.name) for heard in scene.subscriber.heard],
    )


def forgery(scene: Scene) -> None:
    """Somebody else calls the webhook."""
    wait_until(
        lambda: scene.books.idle() or None, seconds=WAIT_SECONDS
    )  # so that nothing else adds a row meanwhile
    before = scene.rows.count()
    stored = json.loads(scene.rows.of(scene.event_id)[0]["body"])
    forged = json.dumps({**stored, "id": "evt_forged"}).encode()
    secret = scene.signing_secret if scene.broken == "forgery" else "whsec_guessed"
    now = int(time.time())
    signature = hmac.new(secret.encode(), b"%d." % now + forged, hashlib.sha256).hexdigest()
    scene.story.sent(
        f"POST {_short(scene.stage.webhook_url, scene.stage)}   evt_forged, signed with a guessed secret"
    )
    answer = call(
        "POST",
        scene.stage.webhook_url,
        headers={"Content-Type": "application/json", "Stripe-Signature": f"t={now},v1={signature}"},
        body=forged,
    )
    scene.story.came(f"{answer}   {answer.json().get('message', answer.json())}")
    scene.story.proved(
        "it is refused", holds=answer.status == 400, seen=f"{answer.status} {answer.body[:300]!r}"
    )
    scene.story.proved(
        "nothing of it was recorded",
        holds=not scene.rows.of("evt_forged") and scene.rows.count() == before,
        seen=f"{scene.rows.count()} rows, {before} before",
    )


def late(scene: Scene) -> None:
    """Somebody subscribes when all is over."""
    began = time.perf_counter()
    subscriber = scene.subscribe()
    try:
        heard = subscriber.wait_for(scene.about_success, seconds=WAIT_SECONDS)
    finally:
        subscriber.close()
    scene.story.came(
        "nothing"
        if heard is None
        else f"event: {heard.name}   {(heard.at - began) * 1000:.0f} ms after asking"
    )
    scene.story.proved(
        "who comes late is told the same",
        holds=heard is not None,
        seen=[one.name for one in subscriber.heard],
    )


STEPS = (
    ("Start a simulated Stripe and the service", start),
    ("A client turns card data into a token", tokenise),
    ("It sends token and amount; the card is charged", charge),
    ("The charge object that the client has", show_charge),
    ("Stripe's webhook arrives", webhook),
    ("The row in StripeEvents", row),
    ("The message that the waiting client received", message),
    ("A card is declined", decline),
    ("An answer is lost on the way; the charge is made once", lost_answer),
    ("Stripe delivers an event twice: one row, one message", duplicate),
    ("A forged webhook is refused", forgery),
    ("A subscriber that comes late is still served", late),
)


def _charge(scene: Scene, token: str) -> Answer:
    scene.story.sent(
        f"POST {scene.stage.url}/charges   " + f'{{"token": "tok_…", "amount_minor": {AMOUNT_MINOR}}}'
    )
    answer = call_json(
        "POST",
        f"{scene.stage.url}/charges",
        {"token": token, "amount_minor": AMOUNT_MINOR},
        headers={"Authorization": f"Bearer {scene.stage.app_key}"},
    )
    scene.story.came(f"{answer}   {_said(answer)}")
    return answer


def _said(answer: Answer) -> str:
    """Return the heart of an answer: the id of what was made, or the words of the refusal."""
    said = answer.json()
    problem = said.get("error") or said
    return str(said.get("id") or problem.get("message") or said)


def _empty(scene: Scene) -> bool:
    return scene.stage.running() and not scene.books.charges() and scene.rows.count() == 0


def _delivery(attempt: dict[str, Any] | None) -> str:
    if attempt is None:
        return "no attempt at all"
    if not attempt["status"]:
        return f"no answer (the simulator was told to: {', '.join(attempt['faults']) or 'nothing'})"
    return f"the service answered {attempt['status']}"


def _short(url: str, stage: Stage) -> str:
    """Return a URL with the API key in it shortened, as one does on a screen."""
    return url.replace(stage.app_key, "<API-KEY>")

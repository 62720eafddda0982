"""The pages in a real browser: what happened, the checkout with the stand-in for Stripe.js, the bank's page.

They need Chromium (`/usr/bin/chromium`, or where TILLPORT_CHROMIUM says). Where there is none they are left out, and the
run says so; what the server sends is tested without.
"""

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tillport.simulator import Fault, Simulator
from tillport.simulator.server import Server

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(Simulator(seed=1, settle_seconds=0.05)) as running:
        yield running


# Without a browser ----------------------------------------------------------------------------------------------------


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def test_the_root_is_a_page_to_a_browser_and_an_unknown_url_to_an_sdk(server: Server) -> None:
    for path in ("/", "/_sim/"):
        status, headers, body = get(server.url + path, Accept="text/html,*/*")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert b"<title>" in body
    assert get(f"{server.url}/_sim/")[1]["content-type"] == "application/json"
    status, _, body = get(f"{server.url}/")
    assert status == 401 or b"Unrecognized request URL" in body


@pytest.mark.parametrize(
    "name", ["inspect.html", "inspect.js", "checkout.html", "checkout.js", "stripe.js", "style.css"]
)
def test_no_page_needs_another_host(name: str) -> None:
    import tillport.simulator.pages as pages

    text = Path(pages.__file__).with_name(name).read_text(encoding="utf-8")
    for line in text.splitlines():
        assert "http" not in line or "https://js.stripe.com/v3/" in line or "http-equiv" in line, line


def test_another_sites_page_may_call_the_api_and_not_the_control_routes(server: Server) -> None:
    here = {"Origin": "http://shop.test"}
    _, headers, _ = get(f"{server.url}/v1/charges", **here)
    assert headers["access-control-allow-origin"] == "*"
    _, headers, _ = get(f"{server.url}/_sim/", **here)
    assert "access-control-allow-origin" not in headers
    shop = server.simulator.private_accounts.create("shop")
    status, headers, body = get(f"{shop.base_url}/_sim/", Origin="http://shop.test")
    assert (status, shop.secret_key.encode() in body) == (200, True)
    assert "access-control-allow-origin" not in headers
    asked = urllib.request.Request(
        f"{server.url}/v1/charges",
        method="OPTIONS",
        headers={
            **here,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 204
        assert "authorization" in answer.headers["access-control-allow-headers"]


# With one -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("TILLPORT_CHROMIUM") or shutil.which("chromium")
    assert program is not None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=100_000)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """A page whose every request goes to the server, and whose scripts make no mistake."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((server.url, "data:")) else wrong.append(r.url))
    yield page
    context.close()
    assert wrong == []


in_browser = pytest.mark.browser


@in_browser
def test_a_browser_pays_with_the_stand_in_for_stripe_js(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/_sim/checkout")
    page.click("text=a card that pays")
    page.click("#submit")
    page.wait_for_selector("#result:has-text('succeeded')")
    (intent,) = server.simulator.payment_intents.list().data
    assert (intent.status, intent.amount) == ("succeeded", 2000)


@in_browser
def test_a_browser_is_told_that_the_card_was_declined(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/_sim/checkout")
    page.click("text=one that is declined")
    page.click("#submit")
    page.wait_for_selector("#result:has-text('declined')")
    assert page.get_attribute("#result", "class") == "bad"


@in_browser
@pytest.mark.parametrize(("button", "told"), [("Complete", "succeeded"), ("Fail", "failed authentication")])
def test_the_banks_frame_is_completed_or_failed(page: Any, server: Server, button: str, told: str) -> None:
    page.goto(f"{server.url}/_sim/checkout")
    page.click("text=one whose bank asks")
    page.click("#submit")
    bank = page.frame_locator("iframe[name=stripe-challenge]")
    bank.get_by_role("button", name=button).click()
    page.wait_for_selector(f"#result:has-text('{told}')")
    assert page.locator("iframe").count() == 0


@in_browser
def test_the_stand_in_tells_a_lost_answer_as_an_error(page: Any, server: Server) -> None:
    sim = server.simulator
    intent = sim.payment_intents.create(amount=2000, currency="usd")
    # A browser asks again by itself where a kept connection is reset before any answer; half of one it takes for lost.
    sim.script(Fault(kind="truncated", path="/v1/payment_intents", method="POST"))
    page.goto(f"{server.url}/_sim/checkout")
    confirm = """async ([key, secret]) => {
      const {error} = await Stripe(key).confirmCardPayment(secret, {payment_method: 'pm_card_visa'});
      return error.type;
    }"""
    told = page.evaluate(confirm, [sim.publishable_key, intent.client_secret])
    assert told == "api_connection_error"
    # The payment was made all the same.
    assert sim.payment_intents.retrieve(intent.id).status == "succeeded"


@in_browser
def test_the_banks_frame_outlives_a_lost_look(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/_sim/checkout")
    page.click("text=one whose bank asks")
    page.click("#submit")
    bank = page.frame_locator("iframe[name=stripe-challenge]")
    button = bank.get_by_role("button", name="Complete")
    button.wait_for()
    server.simulator.script(Fault(kind="truncated", path="/v1/payment_intents/", times=2))
    wait_until(lambda: not server.simulator.account.faults.script)
    button.click()
    page.wait_for_selector("#result:has-text('succeeded')")


@in_browser
@pytest.mark.parametrize(
    ("button", "status"), [("Complete", "succeeded"), ("Fail", "requires_payment_method")]
)
def test_the_bank_takes_the_whole_page_and_gives_it_back(
    page: Any, server: Server, button: str, status: str
) -> None:
    page.goto(f"{server.url}/_sim/checkout")
    page.click("text=one whose bank asks")
    page.check("#whole")
    page.click("#submit")
    page.wait_for_url("**/_sim/3ds/**")
    page.get_by_role("button", name=button).click()
    page.wait_for_url("**/_sim/checkout?*")
    page.wait_for_selector(f"#result:has-text('{status}')")
    assert f"redirect_status={'succeeded' if status == 'succeeded' else 'failed'}" in page.url


@in_browser
def test_the_script_makes_tokens_and_payment_methods_for_a_shops_own_server(
    page: Any, server: Server
) -> None:
    page.goto(f"{server.url}/_sim/checkout")
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    made = page.evaluate(
        """async ([key, card]) => {
          const stripe = Stripe(key);
          const token = await stripe.createToken(card);
          const method = await stripe.createPaymentMethod({type: 'card', card, billing_details: {name: 'Ada'}});
          const wrong = await stripe.createToken({...card, number: '4242424242424241'});
          let secret = null;
          try { Stripe('sk_test_x'); } catch (error) { secret = error.message; }
          let live = null;
          try { Stripe('pk_live_x'); } catch (error) { live = error.message; }
          return {token: token.token.id, method: method.paymentMethod.id, wrong: wrong.error.code, secret, live};
        }""",
        [server.simulator.publishable_key, card],
    )
    assert made["wrong"] == "incorrect_number"
    assert "publishable" in made["secret"]
    assert "live" in made["live"]
    sim = server.simulator
    assert sim.payment_methods.retrieve(made["method"]).billing_details.name == "Ada"
    assert sim.charges.create(amount=500, currency="usd", source=made["token"]).paid


@in_browser
def test_the_script_saves_a_card_and_confirms_with_elements(page: Any, server: Server) -> None:
    sim = server.simulator
    setup = sim.setup_intents.create(allowed_payment_method_types=["card"])
    intent = sim.payment_intents.create(amount=700, currency="usd", allowed_payment_method_types=["card"])
    page.goto(f"{server.url}/_sim/checkout")
    page.click("text=a card that pays")
    statuses = page.evaluate(
        """async ([key, setup, payment]) => {
          const stripe = Stripe(key);
          const elements = stripe.elements({clientSecret: payment});
          const card = elements.create('payment');
          card.mount('#result');
          for (const input of document.querySelectorAll('#result input')) {
            input.value = document.querySelector(`#card [name=${input.name}]`).value;
          }
          const saved = await stripe.confirmCardSetup(setup, {payment_method: {card}});
          const paid = await stripe.confirmPayment({elements, redirect: 'if_required'});
          return [saved.setupIntent?.status ?? saved.error, paid.paymentIntent?.status ?? paid.error];
        }""",
        [sim.publishable_key, setup.client_secret, intent.client_secret],
    )
    assert statuses == ["succeeded", "succeeded"]


@in_browser
def test_the_inspection_page_tells_what_happened_and_moves_clock_and_faults(
    page: Any, server: Server
) -> None:
    sim = server.simulator
    # Nobody listens there: the delivery fails, and waits to be tried again.
    sim.webhook_endpoints.create(url="http://127.0.0.1:9/", enabled_events=["customer.created"])
    page.goto(server.url)
    page.wait_for_selector("#state-secret-key")
    sim.customers.create(name="<img src=x onerror=alert(1)>")
    row = page.locator("tr[data-kind=delivery]", has_text="customer.created").first
    row.wait_for()
    page.wait_for_selector("tr[data-kind=delivery] .bad:has-text('no answer')")
    row.get_by_role("button", name="look").click()
    page.wait_for_selector("#json:has-text('onerror')")
    page.get_by_role("button", name="Close").click()
    page.check("#pause")
    before = len(sim.account.deliveries.log)
    page.locator("tr[data-kind=delivery]").first.get_by_role("button", name="again").click()
    page.wait_for_function("() => true")
    wait_until(partial(lambda: len(sim.account.deliveries.log) > before))
    page.uncheck("#pause")

    then = sim.clock.now()
    page.get_by_role("button", name="+1 day").click()
    wait_until(lambda: sim.clock.now() > then + 80_000)

    page.select_option("#kind", "rate_limited")
    page.fill("#only", "/v1/refunds")
    page.get_by_role("button", name="Strike").click()
    page.wait_for_selector("#script:has-text('rate_limited ×1 on /v1/refunds')")
    assert sim.account.faults.script[0].path == "/v1/refunds"
    page.get_by_role("button", name="Forget all").click()
    wait_until(lambda: not sim.account.faults.script)

    page.select_option("#rate-kind", "duplicate")
    page.fill("#rate", "0.25")
    page.get_by_role("button", name="Set").click()
    page.wait_for_selector("#rates:has-text('duplicate 0.25')")
    assert sim.account.faults.rates.duplicate == 0.25
    page.fill("#rate", "7")
    page.get_by_role("button", name="Set").click()
    page.wait_for_selector("#trouble:has-text('between 0 and 1')")
    seen_at = page.inner_text("#state-time")
    sim.clock.advance(60)
    page.wait_for_function("then => document.getElementById('state-time').textContent > then", arg=seen_at)
    assert page.is_visible("#trouble"), "looks that went well hide what a click met"
    page.fill("#rate", "0.5")
    page.get_by_role("button", name="Set").click()
    page.wait_for_selector("#trouble", state="hidden")


def wait_until(true: Any, seconds: float = 60.0) -> None:
    import time

    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)

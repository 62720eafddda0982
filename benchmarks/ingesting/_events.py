"""Signed events, as Stripe sends them: pretty-printed, 3 to 4 KB, each about a payment of its own."""

import hashlib
import hmac
import json
import random
import time
from itertools import count

SECRET = "whsec_benchmark_of_the_ingest_figures"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MARKS = ("@EVENT@", "@CHARGE@", "@INTENT@", "@KEY@")


def _template(now: int) -> list[str]:
    """Return the event's text, cut where the ids go: text, mark, text, mark, …"""
    card = {
        "amount_authorized": 1250,
        "authorization_code": "123456",
        "brand": "visa",
        "checks": dict.fromkeys(("address_line1_check", "address_postal_code_check", "cvc_check"), "pass"),
        "country": "US",
        "exp_month": 12,
        "exp_year": 2031,
        "extended_authorization": {"status": "disabled"},
        "fingerprint": "Q7ChoAyoqJCcwCM2",
        "funding": "credit",
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": "4242",
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": "visa",
        "network_token": {"used": False},
        "network_transaction_id": "104102978678771",
        "overcapture": {"maximum_amount_capturable": 1250, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "wallet": None,
    }
    nothing = """application application_fee application_fee_amount customer destination dispute
        failure_balance_transaction failure_code failure_message on_behalf_of order receipt_email receipt_number review
        shipping source source_transfer statement_descriptor statement_descriptor_suffix transfer_data transfer_group"""
    charge = {
        "id": "@CHARGE@",
        "object": "charge",
        "amount": 1250,
        "amount_captured": 1250,
        "amount_refunded": 0,
        "balance_transaction": "txn_3Q0PsIJvEtkwdCNY0XVJnKxR",
        "billing_details": {
            "address": dict.fromkeys(
                ("city", "country", "line1", "line2", "postal_code", "state"), "somewhere"
            ),
            "email": "jane@example.com",
            "name": "Jane Example",
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "EXAMPLE SHOP",
        "captured": True,
        "created": now,
        "currency": "usd",
        "description": "Order 4711",
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": {"order": "4711", "basket": "b-20331"},
        "outcome": {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 17,
            "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": True,
        "payment_intent": "@INTENT@",
        "payment_method": "pm_1Q0PsIJvEtkwdCNYMSaVuRz6",
        "payment_method_details": {"card": card, "type": "card"},
        "radar_options": {},
        "receipt_url": "https://pay.stripe.com/receipts/payment/" + "CAcaFwoVYWNjdF8xTTJKVGtKd" * 5,
        "refunded": False,
        "status": "succeeded",
        **dict.fromkeys(nothing.split()),
    }
    text = json.dumps(
        {
            "id": "@EVENT@",
            "object": "event",
            "api_version": "2026-05-27.dahlia",
            "created": now,
            "data": {"object": charge},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": "req_Vu0sWlGDcpa0YF", "idempotency_key": "@KEY@"},
            "type": "charge.succeeded",
        },
        indent=2,
    )
    for mark in _MARKS:
        text = text.replace(mark, f"\0{mark}\0")
    return text.split("\0")


class Maker:
    """Make requests whose ids no other maker of this run makes.

    Stripe's ids begin with characters that grow with time and end in random ones; the objects of one payment share
    their first seventeen characters. `spread` gives wholly random ids in their place: the hardest case for an index.
    """

    def __init__(self, seed: int, *, spread: bool = False) -> None:
        self._random = random.Random(seed)
        self._numbers = count(int(time.time() * 1000))
        self._spread = spread

    def requests(self, path: str, size: int) -> list[bytes]:
        """Return that many whole HTTP requests, signed now, each with an event of its own."""
        now = int(time.time())
        pieces = _template(now)
        places = {mark: [at for at, piece in enumerate(pieces) if piece == mark] for mark in _MARKS}
        inner = hmac.new(SECRET.encode(), b"%d." % now, hashlib.sha256)
        made = []
        for _ in range(size):
            stem = self._stem()
            tail = self._word(8)
            ids = (f"evt_3{stem}1{tail}", f"ch_3{stem}2{tail}", f"pi_3{stem}0{tail}", self._word(36))
            for mark, value in zip(_MARKS, ids, strict=True):
                for at in places[mark]:
                    pieces[at] = value
            body = "".join(pieces).encode()
            signing = inner.copy()
            signing.update(body)
            head = (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
                "Accept: */*; q=0.5, application/xml\r\nCache-Control: no-cache\r\n"
                f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
                f"Stripe-Signature: t={now},v1={signing.hexdigest()}\r\n\r\n"
            )
            made.append(head.encode() + body)
        return made

    def _stem(self) -> str:
        if self._spread:
            return self._word(15)
        number, digits = next(self._numbers), ""
        for _ in range(7):
            number, digit = divmod(number, 62)
            digits = _ALPHABET[digit] + digits
        return digits + "JvEtkwdC"  # the account's part is the same in all of them

    def _word(self, length: int) -> str:
        bits = self._random.getrandbits(6 * length)
        word = ""
        for _ in range(length):
            word += _ALPHABET[(bits & 63) % 62]
            bits >>= 6
        return word

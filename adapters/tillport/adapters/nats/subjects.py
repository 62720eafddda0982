"""Subjects: one per payment, so that a consumer can ask for one payment and NATS keeps its order.

A subject is tokens joined by dots, and `.`, `*`, `>`, whitespace and control characters mean something to NATS
(https://docs.nats.io/nats-concepts/subjects). A payment key may hold anything, so whatever is not a letter, a digit,
`-`, `_` or `~` is written as the percent-encoded bytes of its UTF-8 form: different keys never share a token, and a
key can be read back from its subject.
"""

from urllib.parse import quote, unquote

LONGEST_SUBJECT = 1024
"""Bytes. A server hangs up on a control line of over 4096 (its `max_control_line`): stay far away from that."""

_EMPTY = "%"  # `quote` never yields a lone percent sign, so the empty key has a token of its own


def token_of(key: str) -> str:
    """Return the subject token of a payment key.

    >>> token_of("pi_3Qx"), token_of("a.b *"), token_of("")
    ('pi_3Qx', 'a%2Eb%20%2A', '%')
    """
    return quote(key, safe="").replace(".", "%2E") or _EMPTY


def key_of(subject: str) -> str:
    """Return the payment key that a subject was made of.

    >>> key_of("stripe.a%2Eb%20%2A")
    'a.b *'
    """
    token = subject.rpartition(".")[2]
    return "" if token == _EMPTY else unquote(token)

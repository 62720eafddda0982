"""What can be set about the HTTP face."""

import attrs

from tillport.ports.money import Money


@attrs.frozen(kw_only=True)
class HttpSettings:
    """Settings of the HTTP face; every default is safe.

    `currency` is charged in where a request names none; `UnknownCurrency` is raised for one that Stripe does not
    take. `app_id` is the <APP-ID> of the seed's URLs; None takes any. `default_app_key` is the app key that
    `/api/services/Stripe/charge` acts as, since that URL has no place for a key.

    >>> HttpSettings(currency="usd").webhook_bytes_max
    1048576
    """

    currency: str = attrs.field(default="usd")
    app_id: str | None = None
    default_app_key: str | None = attrs.field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call from a browser, such as `https://shop.example`."""
    charge_bytes_max: int = 65_536
    """A charge is a token, an amount and at most 50 metadata entries of 540 characters."""
    webhook_bytes_max: int = 1_048_576
    """Stripe's events are a few KB, a few hundred at the very most."""
    ping_seconds: float = 15.0
    """How often an idle stream says that it is alive; proxies cut connections that are silent for 30 to 60 s."""
    streams_max: int = 10_000
    """How many streams one process serves; the next is answered 503."""
    drain_seconds: float = 25.0
    """How long charges under way are waited for when the service stops."""
    stop_on_signals: bool = True
    """Whether `create_app` ends its streams at SIGTERM and SIGINT, before the server waits for them."""

    def __attrs_post_init__(self) -> None:
        Money(0, self.currency)  # raises UnknownCurrency at start-up rather than at the first charge

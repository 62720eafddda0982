"""The settings: the seed's four values, where things are kept, who may call.

A value of `Settings` is what somebody asked for; `problems` says what is missing or does not fit together, all of it
at once. Where the values come from (environment, a TOML file) is `tillport.adapters.compose.sources`.

Own code rather than a settings library: it is these hundred lines, and the words of a refusal are ours to choose.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from tillport.adapters.compose.database_url import problem_of
from tillport.adapters.compose.secret import Secret, as_secret, as_secrets
from tillport.ports.errors import TillportError
from tillport.ports.money import Money

STRIPE_API = "https://api.stripe.com"
API_KEY_CHARACTERS_MIN = 16
RETENTION_DAYS_MIN = 30
"""Stripe lists events of the last 30 days (https://docs.stripe.com/api/events)."""
CEILING_MINOR = 99_999_999
"""The largest amount that Stripe takes in most currencies: the limit of a test-mode till that sets none."""
_SERVER = re.compile(r"(?:nats|tls)://\S+")
_ORIGIN = re.compile(r"https?://(?:(?![A-Z/?#@])[!-~])+")
_USUAL_PORT = {"http": ":80", "https": ":443"}
"""What browsers leave out of an origin (https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin)."""


class SettingsRefused(TillportError):
    """Ours, at start-up: the settings can't be read, or are not enough to start with."""

    code = "settings_refused"


# How one value is read, from text (environment) or from what TOML knows. Each raises ValueError without the value.


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes of the environment that Python could only keep for later
        raise ValueError("is not UTF-8") from None
    return value.strip()


def _secret(value: object) -> Secret:
    text = _text(value)
    if text.startswith("file://"):
        try:
            text = Path(text.removeprefix("file://")).read_text("utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise ValueError(
                f"the file it names can't be read ({getattr(error, 'strerror', '') or 'no text'})"
            ) from error
        if not text:
            raise ValueError("the file it names is empty")
    return Secret(text)


def _secrets(value: object) -> tuple[Secret, ...]:
    if isinstance(value, list):
        parts = [_text(part) for part in value]
    else:
        parts = [part for part in _text(value).replace(",", " ").split() if part]
    # A file may hold several, one on a line: that is how a secret is rolled.
    return tuple(Secret(line) for part in parts for line in _secret(part).reveal().split())


def _couriers(value: object) -> Secret:
    """Read a URL, or several with commas, around which people put blanks."""
    return Secret(",".join(part.strip() for part in _secret(value).reveal().split(",")))


def _currency(value: object) -> str:
    currency = _text(value).lower()
    try:
        Money(0, currency)
    except TillportError as error:
        raise ValueError(str(error)) from error
    return currency


def _amount(value: object) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if type(value) is not int or value <= 0:
        raise ValueError("must be a positive integer in minor units: 100000 means 1,000.00 dollars")
    return value


def _amounts(value: object) -> Mapping[str, int]:
    """Read `100000`, which is about the currency of the settings, or `usd:100000,jpy:90000`."""
    if isinstance(value, dict):
        limits = [(_currency(currency), _amount(amount)) for currency, amount in value.items()]
    elif isinstance(value, str) and ":" in value:
        pairs = [pair.partition(":") for pair in value.replace(",", " ").split()]
        limits = [(_currency(currency), _amount(amount)) for currency, _, amount in pairs]
    else:
        return {"": _amount(value)}
    if len(dict(limits)) < len(limits):
        raise ValueError("names a currency twice")
    return dict(limits)


def _limits(limits: Mapping[str, int] | int) -> Mapping[str, int]:
    """Return a number by itself as the limit of the settings' currency."""
    return {"": limits} if isinstance(limits, int) else limits


def _origins(value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else _text(value).replace(",", " ").split()
    origins = tuple(_text(part) for part in parts)
    for origin in origins:
        if _ORIGIN.fullmatch(origin) is None or origin.endswith(_USUAL_PORT[origin.partition(":")[0]]):
            raise ValueError(
                "must be origins as browsers send them, in small ASCII letters, without a path or the usual port: "
                "https://shop.example"
            )
    return origins


def _port(value: object) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if type(value) is not int or not 0 <= value <= 65_535:
        raise ValueError("must be a port number: 0 to 65535, and 0 takes a free one")
    return value


def _days(value: object) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if type(value) is not int or not RETENTION_DAYS_MIN <= value <= 36_500:
        raise ValueError(
            f"must be a number of days, at least {RETENTION_DAYS_MIN}: that is how far back Stripe lists events, and "
            "what reconciling compares"
        )
    return value


def _switch(value: object) -> bool:
    known = {
        "true": True,
        "1": True,
        "on": True,
        "yes": True,
        "false": False,
        "0": False,
        "off": False,
        "no": False,
    }
    found = known.get(str(value).strip().lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def read_by(parse: Callable[[object], Any], help_text: str) -> dict[str, Any]:
    """Say of a setting how it is read and what it means; `metadata` of its field."""
    return {"parse": parse, "help": help_text}


@attrs.frozen(kw_only=True)
class Settings:
    """What a till is made from.

    >>> Settings(currency="usd").problems()[0]
    'There is no Stripe secret key. Set stripe_secret_key to the sk_… of your account (Developers > API keys).'
    """

    stripe_secret_key: Secret | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(as_secret),
        metadata=read_by(_secret, "Stripe's secret or restricted key: `sk_…`, `rk_…`."),
    )
    stripe_publishable_key: str | None = attrs.field(
        default=None,
        metadata=read_by(_text, "Stripe's publishable key, `pk_…`: its mode must be that of the secret key."),
    )
    signing_secrets: tuple[Secret, ...] = attrs.field(
        default=(),
        converter=as_secrets,
        metadata=read_by(
            _secrets, "The webhook endpoint's signing secrets, `whsec_…`; two while one is rolled."
        ),
    )
    currency: str | None = attrs.field(
        default=None, metadata=read_by(_currency, "The currency of charges that name none, such as `usd`.")
    )
    maximum_amount_minor: Mapping[str, int] = attrs.field(
        default={},
        converter=_limits,
        metadata=read_by(
            _amounts,
            "The largest charge, in minor units: `100000`, or per currency `usd:100000,eur:90000`. Others are refused. "
            "Live keys need it.",
        ),
    )
    app_keys: tuple[Secret, ...] = attrs.field(
        default=(),
        converter=as_secrets,
        metadata=read_by(
            _secrets, "API keys for web pages and phones: they hear about the payments that they name."
        ),
    )
    server_keys: tuple[Secret, ...] = attrs.field(
        default=(),
        converter=as_secrets,
        metadata=read_by(_secrets, "API keys for servers: they hear and read everything."),
    )
    default_app_key: Secret | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(as_secret),
        metadata=read_by(
            _secret,
            "The app key that whoever charges at the seed's URL without a key acts as. Unset: that URL asks for one.",
        ),
    )
    app_id: str | None = attrs.field(
        default=None, metadata=read_by(_text, "The application id in the seed's URLs. Unset: any is taken.")
    )
    database_url: Secret = attrs.field(
        default=Secret("sqlite:///tillport.sqlite3"),
        converter=as_secret,
        metadata=read_by(_secret, "Where events and charges are kept: `sqlite:///file` or `postgresql://…`."),
    )
    messaging_url: Secret = attrs.field(
        default=Secret("memory:"),
        converter=as_secret,
        metadata=read_by(
            _couriers, "Where events are published to: `memory:`, which is this process, or `nats://…`."
        ),
    )
    cors_origins: tuple[str, ...] = attrs.field(
        default=(),
        converter=tuple,
        metadata=read_by(
            _origins, "Origins of web pages elsewhere that may call from a browser: `https://shop.example`."
        ),
    )
    open_channel: bool = attrs.field(
        default=False,
        metadata=read_by(_switch, "Whether app keys hear about everybody's payments. Leave it off."),
    )
    retention_days: int | None = attrs.field(
        default=None,
        metadata=read_by(
            _days, "After how many days events are forgotten, once everybody has read them. Unset: never."
        ),
    )
    stripe_address: str = attrs.field(
        default=STRIPE_API, metadata=read_by(_text, "Where Stripe's API is: change it for a simulator.")
    )
    host: str = attrs.field(default="127.0.0.1", metadata=read_by(_text, "The address to listen on."))
    port: int = attrs.field(
        default=8000, metadata=read_by(_port, "The port to listen on; 0 takes a free one.")
    )

    @property
    def livemode(self) -> bool:
        """Whether the key moves real money."""
        key = self.stripe_secret_key
        return key is not None and key.startswith("sk_live_", "rk_live_")

    @property
    def amount_minor_max(self) -> Mapping[str, int]:
        """The largest charge per currency. In test mode a till that sets none takes its own currency alone, up to `CEILING_MINOR`."""
        currency = self.currency or ""
        limits = {name or currency: amount for name, amount in self.maximum_amount_minor.items()}
        return limits or {currency: _payable(CEILING_MINOR, currency)}

    def problems(self, *, name_of: Callable[[str], str] = str) -> list[str]:
        """Say everything that keeps a till from starting, each with what to do. `name_of` names a setting."""
        found = [*_about_stripe(self, name_of), *_about_callers(self, name_of)]
        if (problem := problem_of(self.database_url.reveal())) is not None:
            found.append(f"{name_of('database_url')} {problem[0]} {problem[1]}")
        messaging = self.messaging_url.reveal()
        if not is_memory(messaging) and not names_servers(messaging):
            found.append(
                f"{name_of('messaging_url')} names no courier. Use memory: or nats://…, and the latter for each of several; "
                "a comma in a user or password is written as %2C."
            )
        return found

    def check(self, *, name_of: Callable[[str], str] = str) -> None:
        """Raise `SettingsRefused` with every problem there is."""
        found = self.problems(name_of=name_of)
        if found:
            raise SettingsRefused(
                "\n".join(["Tillport can't start like this:", *(f"  - {line}" for line in found)])
            )


def is_memory(messaging_url: str) -> bool:
    """Tell whether the courier is this process's own memory.

    >>> is_memory("memory:"), is_memory("memory"), is_memory("memory:,nats://broker")
    (True, False, False)
    """
    return messaging_url.startswith("memory:") and "," not in messaging_url


def names_servers(messaging_url: str) -> bool:
    """Tell whether this names a NATS server, or several with commas.

    The client takes any word for a host that isn't there yet, and would look for it for ever: so each is looked at here.

    >>> names_servers("nats://one:4222,tls://two"), names_servers("nats"), names_servers("nats://one,two")
    (True, False, False)
    """
    return all(_SERVER.fullmatch(server) for server in messaging_url.split(","))


def _about_stripe(settings: Settings, name_of: Callable[[str], str]) -> list[str]:
    found = []
    key, publishable = settings.stripe_secret_key, settings.stripe_publishable_key or ""
    if key is None:
        found.append(
            f"There is no Stripe secret key. Set {name_of('stripe_secret_key')} to the sk_… of your account "
            "(Developers > API keys)."
        )
    elif not key.startswith("sk_test_", "sk_live_", "rk_test_", "rk_live_"):
        kind = "a publishable key" if key.startswith("pk_") else "no Stripe secret key"
        found.append(
            f"{name_of('stripe_secret_key')} is {kind}. It starts with sk_ or rk_, then test_ or live_."
        )
    elif (
        publishable.startswith(("pk_live_", "pk_test_"))
        and publishable.startswith("pk_live_") != settings.livemode
    ):
        found.append(
            f"{name_of('stripe_publishable_key')} and {name_of('stripe_secret_key')} are of different modes."
        )
    if publishable and not publishable.startswith(("pk_test_", "pk_live_")):
        found.append(
            f"{name_of('stripe_publishable_key')} is no publishable key. It starts with pk_; pages show it."
        )
    if not settings.signing_secrets:
        found.append(
            f"There is no signing secret, so no webhook could be verified. Set {name_of('signing_secrets')} to the "
            "whsec_… that Stripe shows for this endpoint (Developers > Webhooks)."
        )
    elif not all(re.fullmatch("whsec_.+", secret.reveal()) for secret in settings.signing_secrets):
        found.append(
            f"A value in {name_of('signing_secrets')} is no signing secret. They start with whsec_, and go on."
        )
    if settings.currency is None:
        found.append(f"There is no currency. Set {name_of('currency')}, to usd for instance.")
    if settings.livemode and not settings.maximum_amount_minor:
        found.append(
            f"A live key moves real money, so there must be an upper limit. Set {name_of('maximum_amount_minor')}; "
            "100000 means at most 1,000.00 dollars a charge."
        )
    return found


def _about_callers(settings: Settings, name_of: Callable[[str], str]) -> list[str]:
    found = []
    keys = [key.reveal() for key in (*settings.app_keys, *settings.server_keys)]
    if not keys:
        found.append(
            f"Nobody could call: there is no API key. Set {name_of('server_keys')}, for your server, or "
            f"{name_of('app_keys')}, for web pages and phones. A good one, made just now: {secrets.token_urlsafe(24)}"
        )
    if any(len(key) < API_KEY_CHARACTERS_MIN for key in keys):
        found.append(
            f"An API key is shorter than {API_KEY_CHARACTERS_MIN} characters, so it could be guessed."
        )
    if settings.default_app_key not in (None, *settings.app_keys):
        found.append(
            f"{name_of('default_app_key')} is none of {name_of('app_keys')}. Everybody may charge by it, so it must be one."
        )
    for name, of_one_kind in (("app_keys", settings.app_keys), ("server_keys", settings.server_keys)):
        if not all(key.reveal().isascii() and key.reveal().isprintable() for key in of_one_kind):
            found.append(
                f"A key in {name_of(name)} has characters that no HTTP header carries, so that it could never be used. Take "
                f"printable ASCII alone, such as {secrets.token_urlsafe(24)}"
            )
    if len(set(keys)) < len(keys):
        found.append(
            f"An API key is listed twice. {name_of('app_keys')} are no secret and must differ from "
            f"{name_of('server_keys')}."
        )
    return found


def _payable(amount_minor: int, currency: str) -> int:
    """Round a limit of ours down to what can be paid in a currency."""
    for unit in (1, 10, 100):
        try:
            return Money(amount_minor - amount_minor % unit, currency).amount_minor
        except TillportError:
            continue
    return amount_minor

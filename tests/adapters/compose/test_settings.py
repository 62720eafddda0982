"""Settings: where they come from, what is refused in which words, and that no secret is ever shown."""

import pickle
from pathlib import Path

import attrs
import pytest

from tillport.adapters.compose import Secret, Settings, SettingsRefused, read_settings, variable
from tillport.adapters.compose.sources import NAMES

COMPLETE = {
    "TILLPORT_STRIPE_SECRET_KEY": "sk_test_abcdefgh",
    "TILLPORT_STRIPE_PUBLISHABLE_KEY": "pk_test_abcdefgh",
    "TILLPORT_SIGNING_SECRETS": "whsec_new,whsec_old",
    "TILLPORT_CURRENCY": "USD",
    "TILLPORT_APP_KEYS": "app-key-of-a-web-page",
    "TILLPORT_SERVER_KEYS": "server-key-that-stays-home",
}


def test_the_seeds_four_values_and_two_keys_are_enough() -> None:
    settings = read_settings(COMPLETE)
    settings.check()
    assert settings.currency == "usd"
    assert [secret.reveal() for secret in settings.signing_secrets] == ["whsec_new", "whsec_old"]
    assert settings.amount_minor_max == {"usd": 99_999_999}
    assert settings.database_url.reveal() == "sqlite:///tillport.sqlite3"
    assert settings.messaging_url.reveal() == "memory:"


def test_nothing_at_all_is_refused_with_all_that_is_missing() -> None:
    with pytest.raises(SettingsRefused) as refused:
        read_settings({}).check(name_of=variable)
    text = str(refused.value)
    for name in ("STRIPE_SECRET_KEY", "SIGNING_SECRETS", "CURRENCY", "SERVER_KEYS"):
        assert f"TILLPORT_{name}" in text


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("STRIPE_SECRET_KEY", "pk_test_abcdefgh", "publishable key"),
        ("STRIPE_SECRET_KEY", "nonsense", "no Stripe secret key"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_test_abcdefgh", "no publishable key"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_abcdefgh", "different modes"),
        ("SIGNING_SECRETS", "", "no webhook could be verified"),
        ("SIGNING_SECRETS", "sk_test_abcdefgh", "no signing secret"),
        ("SIGNING_SECRETS", "whsec_new,whsec_", "no signing secret"),
        ("CURRENCY", "", "There is no currency"),
        ("APP_KEYS", "short", "shorter than 16"),
        ("APP_KEYS", COMPLETE["TILLPORT_SERVER_KEYS"], "listed twice"),
        ("DEFAULT_APP_KEY", COMPLETE["TILLPORT_SERVER_KEYS"], "is none of TILLPORT_APP_KEYS"),
        ("APP_KEYS", "äpp-key-of-a-web-page", "A key in TILLPORT_APP_KEYS has characters"),
        ("SERVER_KEYS", "server-key-that-stays-home\x7f", "A key in TILLPORT_SERVER_KEYS has characters"),
        ("DATABASE_URL", "mysql://root@db/shop", "Use sqlite:///file or postgresql://"),
        (
            "DATABASE_URL",
            "postgresql://till:pass/word@db/shop",
            "TILLPORT_DATABASE_URL can't be read as postgresql://",
        ),
        ("MESSAGING_URL", "kafka://broker", "Use memory: or nats://"),
        *(
            ("MESSAGING_URL", url, "Use memory: or nats://")
            for url in (
                "memory",
                "nats",
                "nats:broker",
                "nats://",
                "nats://a nats://b",
                "nats://a,b",
                "nats://a,",
                "memory:,nats://a",
            )
        ),
        ("STRIPE_SECRET_KEY", "sk_live_abcdefgh", "upper limit"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsRefused, match=words):
        read_settings(COMPLETE | {f"TILLPORT_{name}": value}).check(name_of=variable)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db",
        "postgres://till:pass%2Fword@db.internal:5432/shop",
        "postgresql+asyncpg://till@db/shop?sslmode=require&application_name=till",
        "postgresql://till:pa:ss+w=rd!@[::1]:5432/shop",
        "postgresql://till@one:5432,two:5433/shop?target_session_attrs=read-write",
        "postgresql:///shop?host=/run/postgresql",
        "postgresql://till@%2Frun%2Fpostgresql/shop",
    ],
)
def test_every_form_that_postgresql_knows_is_taken(url: str) -> None:
    read_settings(COMPLETE | {"TILLPORT_DATABASE_URL": url}).check(name_of=variable)


@pytest.mark.parametrize(
    "url",
    ["memory:", "memory://here", "nats://broker", "nats://till:pw@a:4222,tls://b", "nats://a, nats://b"],
)
def test_every_courier_that_can_be_published_to_is_taken(url: str) -> None:
    settings = read_settings(COMPLETE | {"TILLPORT_MESSAGING_URL": url})
    settings.check(name_of=variable)
    assert " " not in settings.messaging_url.reveal()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "eighty", "port number"),
        ("PORT", "70000", "port number"),
        ("CURRENCY", "doubloon", "not a currency"),
        ("OPEN_CHANNEL", "perhaps", "true or false"),
        ("MAXIMUM_AMOUNT_MINOR", "12.50", "minor units"),
        ("MAXIMUM_AMOUNT_MINOR", "-5", "minor units"),
        ("MAXIMUM_AMOUNT_MINOR", "usd:100,doubloon:3", "not a currency"),
        ("MAXIMUM_AMOUNT_MINOR", "usd:100,USD:90000", "names a currency twice"),
        ("STRIPE_SECRET_KEY", "file:///there/is/no/such/file", "can't be read"),
        ("HOST", "\udcff", "is not UTF-8"),
        ("APP_KEYS", "app-key-of-a-web-page\udcff", "is not UTF-8"),
    ],
)
def test_what_can_not_be_read_is_refused_by_its_name(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsRefused, match=words) as refused:
        read_settings(COMPLETE | {f"TILLPORT_{name}": value})
    assert f"TILLPORT_{name}" in str(refused.value)


def test_live_keys_start_with_a_limit() -> None:
    live = COMPLETE | {
        "TILLPORT_STRIPE_SECRET_KEY": "rk_live_abcdefgh",
        "TILLPORT_STRIPE_PUBLISHABLE_KEY": "",
    }
    settings = read_settings(live | {"TILLPORT_MAXIMUM_AMOUNT_MINOR": "100000"})
    settings.check()
    assert settings.livemode
    assert settings.amount_minor_max == {"usd": 100_000}


def test_limits_may_be_told_per_currency() -> None:
    settings = read_settings(COMPLETE | {"TILLPORT_MAXIMUM_AMOUNT_MINOR": "usd:100000, jpy:90000"})
    assert settings.amount_minor_max == {"usd": 100_000, "jpy": 90_000}


@pytest.mark.parametrize("currency", ["kwd", "isk", "jpy"])
def test_the_limit_that_stands_by_itself_can_be_paid(currency: str) -> None:
    from tillport.adapters.memory.policy import MaximumAmount

    MaximumAmount(dict(Settings(currency=currency).amount_minor_max))


def test_a_slip_of_the_pen_is_told() -> None:
    with pytest.raises(
        SettingsRefused, match=r"TILLPORT_SIGNING_SECRET is no setting; was TILLPORT_SIGNING_SECRETS"
    ):
        read_settings({"TILLPORT_SIGNING_SECRET": "whsec_x"})


def test_other_peoples_variables_are_left_alone() -> None:
    read_settings({"TILLPORT_DEV_ENV": "x", "TILLPORT_CAMPAIGN_SECONDS": "20", "HOME": "/"})


def test_the_environment_wins_over_the_file_and_arguments_over_both(tmp_path: Path) -> None:
    file = tmp_path / "till.toml"
    file.write_text(
        'currency = "eur"\nport = 1\nhost = "::1"\nsigning_secrets = ["whsec_a", "whsec_b"]\n[maximum_amount_minor]\neur = 5000\n'
    )
    settings = read_settings(
        {"TILLPORT_CURRENCY": "gbp", "TILLPORT_PORT": "2"}, file=file, overrides={"port": 3}
    )
    assert (settings.currency, settings.port, settings.host) == ("gbp", 3, "::1")
    assert len(settings.signing_secrets) == 2
    assert settings.amount_minor_max == {"eur": 5000}


@pytest.mark.parametrize(("name", "value"), [("host", ""), ("host", " "), ("port", 70_000)])
def test_what_the_command_line_says_is_read_as_carefully(name: str, value: object) -> None:
    """An empty host would listen on every address: `--host "$HOST"`, where nobody set it."""
    with pytest.raises(SettingsRefused, match=f"{name}: must be"):
        read_settings({}, overrides={name: value})


def test_a_file_with_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "till.toml"
    file.write_text('signing_secret = "whsec_hidden"\n')
    with pytest.raises(SettingsRefused, match="was signing_secrets meant") as refused:
        read_settings({}, file=file)
    assert "whsec_hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"stripe_secret_key = sk_live_hidden\n", b"\xff\xfe", b'a = "sk_live_hidden']
)
def test_a_file_that_is_no_toml_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "till.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsRefused, match="is no TOML") as refused:
        read_settings({}, file=file)
    assert "sk_live" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000], ids=["long", "deep"])
def test_a_file_that_python_can_not_read_is_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "till.toml"
    file.write_text(f"port = {value}\n")
    with pytest.raises(SettingsRefused, match="too long, or lists are too deep"):
        read_settings({}, file=file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="can't be read"):
        read_settings({}, file=tmp_path / "none.toml")


def test_secrets_come_from_files_and_a_list_from_the_lines_of_one(tmp_path: Path) -> None:
    key, secrets = tmp_path / "key", tmp_path / "secrets"
    key.write_text("sk_test_from_a_file\n")
    secrets.write_text("whsec_new\nwhsec_old\n")
    settings = read_settings(
        COMPLETE
        | {"TILLPORT_STRIPE_SECRET_KEY": f"file://{key}", "TILLPORT_SIGNING_SECRETS": f"file://{secrets}"}
    )
    assert settings.stripe_secret_key == Secret("sk_test_from_a_file")
    assert settings.signing_secrets == (Secret("whsec_new"), Secret("whsec_old"))


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(SettingsRefused, match="is empty"):
        read_settings({"TILLPORT_STRIPE_SECRET_KEY": f"file://{empty}"})


def test_no_secret_is_ever_shown() -> None:
    values = COMPLETE | {
        "TILLPORT_DATABASE_URL": "postgresql://till:hunter2@db/shop",
        "TILLPORT_MESSAGING_URL": "nats://till:hunter2@broker:4222",
    }
    settings = read_settings(values)
    shown = f"{settings!r} {settings} {attrs.asdict(settings)}"
    for secret in ("sk_test_abc", "whsec_", "hunter2", "app-key", "server-key"):
        assert secret not in shown
    with pytest.raises(TypeError):
        pickle.dumps(settings)


def test_plain_values_in_python_are_taken_and_hidden_too() -> None:
    settings = Settings(
        stripe_secret_key="sk_test_abcdefgh",
        signing_secrets=["whsec_new"],
        server_keys="server-key-that-stays-home",
        currency="usd",
        maximum_amount_minor=100_000,
        database_url="sqlite:///till.sqlite3",
    )
    settings.check()
    assert settings == attrs.evolve(settings)
    assert settings.amount_minor_max == {"usd": 100_000}
    assert not any(one in repr(settings) for one in ("sk_test", "whsec", "server-key", "till.sqlite3"))
    with pytest.raises(TypeError, match="a secret is a text, not int"):
        Settings(stripe_secret_key=5)


@pytest.mark.parametrize(
    "value",
    [
        "https://shop.example/page", "shop.example", "*", "https://Shop.example", "https://bücher.example",
        "https://shop.example:443", "http://shop.example:80",
    ],
)  # fmt: skip
def test_what_no_browser_sends_as_its_origin_is_refused(value: str) -> None:
    with pytest.raises(SettingsRefused, match="without a path"):
        read_settings(COMPLETE | {"TILLPORT_CORS_ORIGINS": value})


def test_every_setting_is_in_the_reference() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "settings.md").read_text("utf-8")
    for name in NAMES:
        assert f"`{name}`" in page, name

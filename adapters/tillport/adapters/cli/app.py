"""The commands and their words. What a command needs is imported when it runs, so that `--help` is quick.

Exit codes: 0 done · 1 it was tried and failed · 2 refused: the command line or the settings are wrong · 130 interrupted.
"""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import cyclopts
from cyclopts import App, Parameter
from cyclopts.validators import Number

from tillport.adapters.cli.terminal import complain, let_go, prepare, say

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="tillport",
    help="Take Stripe payments, and tell your application in real time what became of each.",
    help_epilogue="Try `tillport demo` first: it needs no Stripe account and no network.",
    help_format="markdown",
    version_flags=["--version"],
    result_action="return_value",
)
events = App(
    name="events",
    help="Read the event log, the table StripeEvents, beside a service that runs or without it.",
)
app.command(events)
db = App(
    name="db", help="The tables of the event log and the ledger: bring them up to date, or compare them."
)
app.command(db)
consumers = App(name="consumers", help="Who reads the log, and how far.")
app.command(consumers)
effects = App(name="effects", help="What your handlers have done, have to do, and gave up.")
app.command(effects)

Config = Annotated[Path | None, Parameter(help="A TOML file with settings; the environment wins over it.")]
Database = Annotated[
    str | None, Parameter(help="The database URL; by default the setting `database_url`.", show_default=False)
]
EffectsDatabase = Annotated[
    str | None,
    Parameter(help="Where effects are kept, if not in the log's database.", show_default=False),
]
Select = Annotated[
    str | None,
    Parameter(name=["--select", "-s"], help="Only these, such as \"id = 'ch_…'\".", show_default=False),
]
_POSITION, _COUNT, _PORT = Number(gte=0, lt=2**63), Number(gte=1, lt=2**63), Number(gte=0, lte=65_535)
After = Annotated[int, Parameter(help="Only events after this position of the log.", validator=_POSITION)]
UpTo = Annotated[
    int | None,
    Parameter(help="Only events up to this position of the log.", show_default=False, validator=_POSITION),
]
Limit = Annotated[int, Parameter(help="At most so many.", validator=_COUNT)]
Type = Annotated[
    str | None,
    Parameter(name="--type", help="Only events of this type: `charge.succeeded`.", show_default=False),
]
Payment = Annotated[
    str | None,
    Parameter(help="Only about this payment, by any of its ids: `ch_…`, `pi_…`.", show_default=False),
]
Since = Annotated[
    str | None, Parameter(help="Received since then: `2h` ago, or 2026-11-20T14:00Z.", show_default=False)
]
Until = Annotated[str | None, Parameter(help="Received before then.", show_default=False)]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object a line.")]


@app.command
def demo(
    *,
    keep: Annotated[
        bool, Parameter(negative="", help="Leave both servers running and print how to play.")
    ] = False,
    break_: Annotated[
        Literal["deliveries", "secret", "duplicate", "forgery", "retry", "decline"] | None,
        Parameter(
            name="--break",
            help="Break one thing on purpose, and see the demo notice and fail.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Watch one payment go all the way round, over real HTTP, without Stripe and without a network.

    Starts a simulated Stripe and the service on free loopback ports, takes a payment, and then does what usually
    goes wrong. Exits 0 only if every step truly happened; each is checked against the database file, the simulator's
    books and the bytes that the subscriber received.
    """
    from tillport.adapters.cli.demo import run_demo

    return run_demo(keep=keep, broken=break_)


@app.command
def serve(
    *,
    host: Annotated[
        str | None, Parameter(help="Address to listen on [127.0.0.1].", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        Parameter(help="Port to listen on [8000]; 0 takes a free one.", show_default=False, validator=_PORT),
    ] = None,
    config: Config = None,
    fd: Annotated[int | None, Parameter(show=False)] = None,
) -> int:
    """Run the service: charges, webhooks and the live stream, on one address.

    Settings come from `TILLPORT_…` variables and from the file that `--config` names. It refuses to start while
    something is missing, and says what. Stop it with Ctrl-C or SIGTERM: what is under way is finished first.
    """
    from tillport.adapters.cli.serve import run_service

    return run_service(host=host, port=port, config=config, fd=fd)


@app.command
def simulate(
    *,
    host: Annotated[str, Parameter(help="Address to listen on: keep it on loopback.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on; 0 takes a free one.", validator=_PORT)] = 12111,
    seed: Annotated[str, Parameter(help="Same seed, same ids, same chance.")] = "0",
    forward_to: Annotated[
        str | None, Parameter(help="A URL that gets every event as a signed webhook.", show_default=False)
    ] = None,
    rate: Annotated[
        list[str] | None,
        Parameter(help="What goes wrong how often: `duplicate=0.1`.", negative="", show_default=False),
    ] = None,
    fault: Annotated[
        list[str] | None,
        Parameter(help="What goes wrong once: `answer_lost`.", negative="", show_default=False),
    ] = None,
    retry_seconds: Annotated[
        str | None, Parameter(help="Waits between delivery attempts: `1,5,30`.", show_default=False)
    ] = None,
) -> int:
    """Run a fake Stripe for any Stripe SDK, with signed webhooks that misbehave when asked to."""
    from tillport.simulator.__main__ import main as run_simulator

    given: list[tuple[str, str | None]] = [
        ("--host", host),
        ("--port", str(port)),
        ("--seed", seed),
        ("--forward-to", forward_to),
        *(("--rate", one) for one in rate or ()),
        *(("--fault", one) for one in fault or ()),
        ("--retry-seconds", retry_seconds),
    ]
    return run_simulator(
        [f"{name}={value}" for name, value in given if value is not None], prog="tillport simulate"
    )


@app.command
def chaos(
    url: Annotated[str, Parameter(help="The application's webhook URL, on this machine.")],
    *,
    secret: Annotated[
        str,
        Parameter(
            help="The endpoint's signing secret, `whsec_…`.",
            env_var="TILLPORT_CHAOS_SECRET",
            show_default=False,
        ),
    ],
    seconds: Annotated[float, Parameter(help="How long to go on, at most 600.")] = 10.0,
    rate: Annotated[float, Parameter(help="Requests a second, at most 2000.")] = 40.0,
    seed: Annotated[str, Parameter(help="Same seed, same storm.")] = "0",
    connections: Annotated[int, Parameter(help="How many requests at a time, at most 64.")] = 4,
    tolerance: Annotated[
        int, Parameter(help="How many seconds old a signature may be; Stripe's SDKs take 300.")
    ] = 300,
    timeout: Annotated[float, Parameter(help="How many seconds to wait for an answer.")] = 10.0,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="The report as JSON.")] = False,
) -> int:
    """Throw a seeded storm of events at any application's webhook, and report what broke.

    Good events come twice, late, out of order, of unknown types; others are forged, stale or rubbish. It tells
    forgeries that were accepted, crashes, good events that were refused, slow and missing answers. It goes to this
    machine only and stops by itself. Exits 0 if nothing broke and 1 if something did.
    """
    from tillport.adapters.cli.chaos import run_chaos

    return run_chaos(
        url,
        secret=secret,
        seconds=seconds,
        rate=rate,
        seed=seed,
        connections=connections,
        tolerance_seconds=tolerance,
        timeout_seconds=timeout,
        as_json=as_json,
    )


@app.command
def reconcile(
    *,
    since: Annotated[
        str, Parameter(help="How far back: `7d`, `12h`, or a time such as 2026-11-20T14:00Z.")
    ] = "7d",
    undelivered: Annotated[
        bool,
        Parameter(
            negative="",
            help="Only events that some webhook endpoint has not acknowledged: quicker after an outage.",
        ),
    ] = False,
    as_json: Annotated[
        bool, Parameter(name="--json", negative="", help="The report as one JSON object.")
    ] = False,
    database: Database = None,
    config: Config = None,
) -> int:
    """Record what was missed, then compare the ledger, the log and Stripe's books.

    Reads Stripe's events (it lists those of the last 30 days) and records what is missing as a webhook would have.
    Safe at any time, beside a running service, and twice. Exits 0 if everything agrees, 1 if differences remain.
    """
    from tillport.adapters.cli.reconcile import reconcile_command

    return reconcile_command(
        since=since, undelivered=undelivered, as_json=as_json, database=database, config=config
    )


@app.command
def explain(
    name: Annotated[str, Parameter(help="`ch_…`, `pi_…`, `re_…`, `evt_…`, or the key of an attempt.")],
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="As one JSON object.")] = False,
    database: Database = None,
    effects_database: EffectsDatabase = None,
    config: Config = None,
) -> int:
    """Tell the story of one payment: what was asked, what Stripe answered and told, and who was told what.

    Reads the database alone, beside a running service or without it. Shows no card, no token and no person.
    """
    from tillport.adapters.cli.explain import explain_command

    return explain_command(
        name, as_json=as_json, database=database, effects_database=effects_database, config=config
    )


@app.command
def status(
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="As one JSON object.")] = False,
    database: Database = None,
    effects_database: EffectsDatabase = None,
    config: Config = None,
) -> int:
    """Show what waits to be published, what nobody knows the outcome of, and who reads how far."""
    from tillport.adapters.cli.status import status_command

    return status_command(
        as_json=as_json, database=database, effects_database=effects_database, config=config
    )


@events.command(name="list")
def list_(
    *,
    select: Select = None,
    type_: Type = None,
    payment: Payment = None,
    since: Since = None,
    until: Until = None,
    after: After = 0,
    limit: Limit = 50,
    as_json: AsJson = False,
    database: Database = None,
    config: Config = None,
) -> int:
    """List recorded events, oldest first."""
    from tillport.adapters.cli.events import Wanted, list_events

    wanted = Wanted(select=select, type=type_, payment=payment, since=since, until=until)
    return list_events(
        wanted=wanted, after=after, limit=limit, as_json=as_json, database=database, config=config
    )


@events.command
def show(
    event_id: Annotated[str, Parameter(help="The event's id, `evt_…`.")],
    /,
    *,
    raw: Annotated[
        bool, Parameter(negative="", help="Only the body, byte for byte as it was signed.")
    ] = False,
    database: Database = None,
    config: Config = None,
) -> int:
    """Show one event: what was extracted from it, and its body.

    A `client_secret` is left out, except from `--raw`: with that the signature would not fit.
    """
    from tillport.adapters.cli.events import show_event

    return show_event(event_id, raw=raw, database=database, config=config)


@events.command
def tail(
    *,
    select: Select = None,
    type_: Type = None,
    payment: Payment = None,
    after: Annotated[
        int | None,
        Parameter(
            help="Begin after this position; by default with what comes.",
            show_default=False,
            validator=_POSITION,
        ),
    ] = None,
    as_json: AsJson = False,
    database: Database = None,
    config: Config = None,
) -> int:
    """Follow the log: print events as they are recorded, until Ctrl-C."""
    from tillport.adapters.cli.events import Wanted, tail_events

    wanted = Wanted(select=select, type=type_, payment=payment)
    return tail_events(wanted=wanted, after=after, as_json=as_json, database=database, config=config)


@events.command
def replay(
    *,
    after: Annotated[
        int | None,
        Parameter(
            help="Only events after this position of the log.", show_default=False, validator=_POSITION
        ),
    ] = None,
    up_to: UpTo = None,
    select: Select = None,
    type_: Type = None,
    payment: Payment = None,
    since: Since = None,
    until: Until = None,
    messaging: Annotated[
        str | None,
        Parameter(help="The messaging URL; by default the setting `messaging_url`.", show_default=False),
    ] = None,
    handler: Annotated[
        str | None,
        Parameter(help="Not to the courier: hand them to this handler of effects.", show_default=False),
    ] = None,
    in_order: Annotated[
        bool, Parameter(negative="", help="The handler takes a payment's events one by one.")
    ] = False,
    effects_database: EffectsDatabase = None,
    database: Database = None,
    config: Config = None,
) -> int:
    """Publish events to the courier again, for a consumer that lost them; or hand them to one handler.

    They come under the ids that they had: consumers that deduplicate, and a broker within its window (10 minutes in a
    stream that Tillport made), take only what they have not seen. The relay's place does not move.

    With `--handler` a handler of effects gets events that it never had, because it began after them. What it has
    done, or gave up on, it does not get again. Name the types that it is for with `--type`.
    """
    from tillport.adapters.cli.events import Wanted
    from tillport.adapters.cli.replay import replay_events

    wanted = Wanted(select=select, type=type_, payment=payment, since=since, until=until)
    return replay_events(
        wanted=wanted,
        after=after,
        up_to=up_to,
        messaging=messaging,
        handler=handler,
        in_order=in_order,
        effects_database=effects_database,
        database=database,
        config=config,
    )


@events.command
def export(
    *,
    after: After = 0,
    up_to: UpTo = None,
    select: Select = None,
    type_: Type = None,
    payment: Payment = None,
    since: Since = None,
    until: Until = None,
    database: Database = None,
    config: Config = None,
) -> int:
    """Write events with their bodies to standard output, a JSON object a line, oldest first.

    Bodies may hold personal data. A `client_secret` is left out.
    """
    from tillport.adapters.cli.events import Wanted
    from tillport.adapters.cli.replay import export_events

    wanted = Wanted(select=select, type=type_, payment=payment, since=since, until=until)
    return export_events(wanted=wanted, after=after, up_to=up_to, database=database, config=config)


@events.command(name="forget")
def forget_(
    *,
    older_than: Annotated[str, Parameter(help="Received before so long ago, such as `90d`, or a date.")],
    dry_run: Annotated[bool, Parameter(negative="", help="Only say what would go.")] = False,
    effects_database: EffectsDatabase = None,
    database: Database = None,
    config: Config = None,
) -> int:
    """Take old events out of the log, but none that a consumer or an effect still needs.

    Their ids stay, so that none is ever recorded again. Safe beside running services, and twice. The setting
    `retention_days` has the service do it by itself.
    """
    from tillport.adapters.cli.keeping import forget_events

    return forget_events(
        older_than=older_than,
        dry_run=dry_run,
        database=database,
        effects_database=effects_database,
        config=config,
    )


@app.command
def erase(
    person: Annotated[str, Parameter(help="A customer, `cus_…`, or a guest's payment: `ch_…`, `pi_…`.")],
    /,
    *,
    database: Database = None,
    config: Config = None,
) -> int:
    """Erase one person's data from the log and the ledger, on their request.

    Of every event and charge about them stays what the books need: ids, times, amounts, and how it ended. Names,
    addresses, cards, metadata go, and can't be brought back. Reads the whole log; safe beside running services, and
    twice: broken off, it is begun again.
    """
    from tillport.adapters.cli.keeping import erase_person

    return erase_person(person, database=database, config=config)


@consumers.command(name="list")
def list_of_consumers(*, database: Database = None, config: Config = None) -> int:
    """Show who reads the log, and how far each is: what the slowest has not read is never forgotten."""
    from tillport.adapters.cli.keeping import list_consumers

    return list_consumers(database=database, config=config)


@consumers.command
def drop(
    name: Annotated[str, Parameter(help="The consumer's name, as `tillport consumers list` shows it.")],
    /,
    *,
    database: Database = None,
    config: Config = None,
) -> int:
    """Forget a consumer that nobody runs any more, so that it holds no events back."""
    from tillport.adapters.cli.keeping import drop_consumer

    return drop_consumer(name, database=database, config=config)


@db.command
def upgrade(
    *,
    sql: Annotated[
        bool,
        Parameter(negative="", help="Only print the SQL of all migrations, and reach no database."),
    ] = False,
    after: Annotated[
        str | None,
        Parameter(
            help="With `--sql`: only what comes after this revision, as `tillport db check` tells it.",
            show_default=False,
        ),
    ] = None,
    database: Database = None,
    config: Config = None,
) -> int:
    """Run the migrations that are missing, in one transaction. Safe while services are at work, and twice."""
    from tillport.adapters.cli.database import upgrade

    return upgrade(as_sql=sql, after=after, database=database, config=config)


@db.command
def check(*, database: Database = None, config: Config = None) -> int:
    """Compare the tables with what this version needs; changes nothing, and exits 1 if something differs."""
    from tillport.adapters.cli.database import check

    return check(database=database, config=config)


HandlerName = Annotated[str, Parameter(name=["--handler"], help="The handler's name.")]
AboutEvent = Annotated[str, Parameter(help="The event's id, `evt_…`.")]


@effects.command(name="list")
def list_of_effects(
    *,
    state: Annotated[
        Literal["due", "done", "dead", "skipped", "all"], Parameter(help="Effects in this state.")
    ] = "dead",
    handler: Annotated[str | None, Parameter(help="Of this handler alone.", show_default=False)] = None,
    payment: Annotated[
        str | None, Parameter(help="About the payment with this payment key, `pi_…`.", show_default=False)
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    database: Database = None,
    config: Config = None,
) -> int:
    """Show how each handler fares, and its dead letters (or what is in another state)."""
    from tillport.adapters.cli.effects import list_effects

    return list_effects(
        state=state,
        handler=handler,
        payment=payment,
        limit=limit,
        as_json=as_json,
        database=database,
        config=config,
    )


@effects.command(name="show")
def show_of_effects(event_id: AboutEvent, /, *, database: Database = None, config: Config = None) -> int:
    """Show what each handler did, or still has to do, about one event."""
    from tillport.adapters.cli.effects import show_effects

    return show_effects(event_id, database=database, config=config)


@effects.command(name="retry")
def retry_of_effects(
    event_id: Annotated[str | None, Parameter(help="The event's id; or `--all`.", show_default=False)] = None,
    /,
    *,
    handler: HandlerName,
    every: Annotated[
        bool, Parameter(name="--all", negative="", help="Every dead letter of the handler.")
    ] = False,
    database: Database = None,
    config: Config = None,
) -> int:
    """Have a dead letter tried again, as if it had never failed."""
    from tillport.adapters.cli.effects import retry_effects

    return retry_effects(event_id, handler=handler, every=every, database=database, config=config)


@effects.command(name="skip")
def skip_of_effects(
    event_id: AboutEvent, /, *, handler: HandlerName, database: Database = None, config: Config = None
) -> int:
    """Give an effect up for ever. What waits for it, in order, goes on."""
    from tillport.adapters.cli.effects import skip_effect

    return skip_effect(event_id, handler=handler, database=database, config=config)


@app.command
def version() -> int:
    """Print the versions of Tillport, of Python and of what is installed beside it."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    say(f"tillport {version_of('tillport')} on Python {sys.version.split()[0]}")
    for name in ("stripe", "litestar", "uvicorn", "sqlalchemy", "asyncpg", "nats-py"):
        try:
            say(f"  {name} {version_of(name)}")
        except PackageNotFoundError:
            say(f"  {name} is not installed")
    return DONE


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    from tillport.ports.errors import TillportError

    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:  # bytes that Python could only keep: no database and no terminal takes them
        complain("The command line is not UTF-8.")
        return REFUSED
    try:
        code = app(arguments, exit_on_error=False)
    except cyclopts.CycloptsError:
        return REFUSED  # cyclopts has said what is wrong with the command line
    except TillportError as error:
        complain(str(error))
        return REFUSED if error.code in _REFUSALS else FAILED
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        complain(
            f"This command needs {error.name}, which is not installed. Install it: pip install 'tillport[{extra}]'"
        )
        return FAILED
    except BrokenPipeError:  # `tillport events list | head` has what it wanted
        return FAILED
    except OSError as error:
        if error.errno not in _CAN_NOT_WRITE:
            raise
        complain(f"Can't write: {error.strerror}.")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else DONE


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    prepare()
    code = run()
    let_go()
    raise SystemExit(code)


_REFUSALS = frozenset(
    {
        "settings_refused",
        "unsafe_configuration",
        "no_signing_secret",
        "invalid_selector",
        "invalid_window",
        "unknown_handler",
    }
)
_CAN_NOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
_EXTRAS = {
    "stripe": "stripe",
    "aiohttp": "stripe",
    "sqlalchemy": "sql",
    "asyncpg": "postgres",
    "alembic": "sql",
    "nats": "nats",
    "litestar": "litestar",
    "uvicorn": "litestar",
    "httptools": "litestar",
}

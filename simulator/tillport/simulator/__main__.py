"""`python -m tillport.simulator --port 12111`: the simulator on a loopback port."""

import argparse
import math
import sys
from typing import NoReturn

import msgspec

from tillport.simulator import LIVE_RETRIES, PUBLISHABLE_KEY, SECRET_KEY, ApiError, Fault, Faults, Simulator
from tillport.simulator.faults import KINDS


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong: the usage before it would be longer than what matters."""
        self.exit(2, f"{self.prog}: {message} (--help shows how)\n")


def _number(text: str, example: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{text[:40]!r} is no number from 0 on: write {example}, say")
    return number


def _rate(item: str) -> tuple[str, float]:
    name, _, rate = item.partition("=")
    if name not in Faults.__struct_fields__:
        raise ValueError(f"unknown fault {name[:40]!r}: choose one of {', '.join(KINDS)}")
    return name, _number(rate, f"--rate {name}=0.1")


def _waits(text: str | None) -> tuple[float, ...]:
    if not text:
        return LIVE_RETRIES
    return tuple(_number(wait, "--retry-seconds 1,5,30") for wait in text.split(","))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no port: 0 to 65535, and 0 takes a free one")
    return int(text)


def main(argv: list[str] | None = None, *, prog: str = "python -m tillport.simulator") -> int:
    """Serve until interrupted; print the keys and ready-made lines once the port answers.

    Returns 1 if it can't listen there, and exits with 2 for arguments that can't be; a line says what to do.
    """
    parser = _Parser(prog=prog, description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=12111, help="0 takes a free port")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--secret-key", default=SECRET_KEY)
    parser.add_argument("--publishable-key", default=PUBLISHABLE_KEY)
    parser.add_argument("--forward-to", metavar="URL", help="register a webhook endpoint for all events")
    parser.add_argument(
        "--rate", action="append", default=[], metavar="FAULT=RATE", help="for example duplicate=0.1"
    )
    parser.add_argument(
        "--fault", action="append", default=[], metavar="FAULT", help="strike once, for example answer_lost"
    )
    parser.add_argument("--retry-seconds", help="waits between delivery attempts, for example 1,5,30")
    argv = sys.argv[1:] if argv is None else argv
    try:
        "".join(argv).encode()
    except UnicodeEncodeError:
        parser.error("the command line is not UTF-8")
    options = parser.parse_args(argv)
    try:
        rates = msgspec.convert(dict(_rate(item) for item in options.rate), Faults)
        script = [Fault(kind=kind) for kind in options.fault]
        waits = _waits(options.retry_seconds)
    except (msgspec.ValidationError, ValueError) as error:
        parser.error(str(error))
    # Here, so that --help needs no server.
    from tillport.simulator.server import Server

    sim = Simulator(
        seed=options.seed,
        faults=rates,
        secret_key=options.secret_key,
        publishable_key=options.publishable_key,
        retry_seconds=waits,
    )
    sim.script(*script)
    secret = None
    if options.forward_to:
        try:
            secret = sim.webhook_endpoints.create(url=options.forward_to, enabled_events=["*"]).secret
        except ApiError as error:
            parser.error(
                f"--forward-to: {error.message} Write it as --forward-to http://127.0.0.1:8000/webhooks/stripe"
            )
    # A reset goes back to here: to the endpoint and the faults that were asked for.
    sim = sim.freeze().fork(clock=sim.clock)
    try:
        server = Server(sim, host=options.host, port=options.port)
    except OSError as error:
        sys.stderr.write(
            f"{prog}: Can't listen on {options.host} port {options.port}: {error.strerror}. "
            "Choose another with --port (0 takes a free one), and a --host of this machine.\n"
        )
        return 1

    def ready() -> None:
        form = "-d amount=2000 -d currency=usd -d payment_method=pm_card_visa -d confirm=true"
        listen = (
            f"stripe listen --api-base {server.url} --no-wss --skip-update --all-snapshot --forward-to URL"
        )
        lines = [
            f"Simulated Stripe on {server.url}",
            f"  secret key        {sim.secret_key}",
            f"  publishable key   {sim.publishable_key}",
            *([f"  signing secret    {secret}  (events go to {options.forward_to})"] if secret else []),
            f"  curl              curl -u {sim.secret_key}: {server.url}/v1/payment_intents {form}",
            f'  python            stripe.StripeClient("{sim.secret_key}", base_addresses={{"api": "{server.url}"}})',
            f"  stripe CLI        STRIPE_API_KEY={sim.secret_key} stripe payment_intents list --api-base {server.url}",
            f"  stripe listen     {listen}",
            f"  look inside       {server.url}/  (in a browser: what happened; {server.url}/_sim/checkout pays)",
        ]
        try:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
        except OSError as error:  # nobody can use it without its keys
            unwritten.append(error)
            server.stop()

    unwritten: list[OSError] = []
    server.run(ready)
    if unwritten:
        sys.stderr.write(f"{prog}: Can't write: {unwritten[0].strerror}.\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

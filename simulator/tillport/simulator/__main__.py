"""`python -m tillport.simulator --port 12111`: the simulator on a loopback port."""

import argparse
import sys

import msgspec

from tillport.simulator import LIVE_RETRIES, PUBLISHABLE_KEY, SECRET_KEY, Fault, Faults, Simulator


def _rate(item: str) -> tuple[str, float]:
    name, _, rate = item.partition("=")
    return name, float(rate)


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; print the keys and ready-made lines once the port answers."""
    parser = argparse.ArgumentParser(prog="python -m tillport.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=12111, help="0 takes a free port")
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
    options = parser.parse_args(argv)
    try:
        rates = msgspec.convert(dict(_rate(item) for item in options.rate), Faults)
        script = [Fault(kind=kind) for kind in options.fault]
        waits = (
            tuple(float(x) for x in options.retry_seconds.split(","))
            if options.retry_seconds
            else LIVE_RETRIES
        )
    except (msgspec.ValidationError, ValueError) as error:
        parser.error(str(error))
    # Here, so that --help needs no server.
    from tillport.simulator.server import Server, serve

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
        secret = sim.webhook_endpoints.create(url=options.forward_to, enabled_events=["*"]).secret

    def ready(server: Server) -> None:
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
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    serve(sim, host=options.host, port=options.port, on_ready=ready)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

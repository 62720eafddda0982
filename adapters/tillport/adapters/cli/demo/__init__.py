"""The demo: a real payment goes round, every step is proved, and the exit code says whether all of it happened."""

import tempfile
import time
from pathlib import Path

from tillport.adapters.cli.demo.evidence import Books, Rows
from tillport.adapters.cli.demo.stage import NoStage, Stage
from tillport.adapters.cli.demo.steps import AMOUNT_MINOR, STEPS, Scene
from tillport.adapters.cli.demo.story import StepFailed, Story
from tillport.adapters.cli.terminal import complain, paint, say

__all__ = ["run_demo"]


def run_demo(*, keep: bool, broken: str | None = None) -> int:
    """Run every step and return 0 if all of them truly happened, else 1; `keep` then waits for Ctrl-C."""
    began = time.monotonic()
    story = Story()
    with tempfile.TemporaryDirectory(prefix="tillport-demo-") as folder, Stage(Path(folder)) as stage:
        scene = Scene(stage, story, Books(""), Rows(stage.database), broken)
        try:
            for title, step in STEPS:
                with story.step(title):
                    step(scene)
        except (StepFailed, NoStage, OSError, KeyError) as error:
            _explain(error, scene)
            return 1
        finally:
            if scene.subscriber is not None:
                scene.subscriber.close()
        seconds = time.monotonic() - began
        say(
            f"\n{paint('All of it happened.', 'green', 'bold')} {story.steps} steps, {story.proofs} proofs, {seconds:.1f} s."
        )
        if keep:
            _keep(scene)
    return 0


def _explain(error: Exception, scene: Scene) -> None:
    """Say which step failed, what was expected and what was seen, and what the service logged."""
    story, stage = scene.story, scene.stage
    if isinstance(error, StepFailed):
        say(f"\n{paint('The demo failed', 'red', 'bold')} at {error.step}:")
        say(f"  expected: {error.expected}")
        say(f"  seen:     {error.seen}")
    elif isinstance(error, NoStage):
        say(f"\n{paint('The demo failed', 'red', 'bold')} at step {story.steps}: {error}")
    else:
        say(
            f"\n{paint('The demo failed', 'red', 'bold')} at step {story.steps}: {type(error).__name__}: {error}"
        )
    if scene.broken:
        say(f"  which is right: --break {scene.broken} was asked for")
    logged = [line for line in stage.said("service").splitlines() if " WARNING " in line or " ERROR " in line]
    for line in logged[-10:]:
        complain(f"the service logged: {line}")


def _keep(scene: Scene) -> None:
    """Print how to play, and wait for Ctrl-C."""
    stage = scene.stage
    say(
        f"""
{paint("Both keep running; Ctrl-C ends them.", "bold")}
  service           {stage.url}
  simulated Stripe  {stage.stripe_url}   (look inside: {stage.stripe_url}/_sim/)
  database          {stage.database}
  app key           {stage.app_key}
  server key        {stage.server_key}

{paint("The seed's own curl line:", "bold")}
curl -X "POST" "{stage.seed_charge_url}" \\
    -H 'Content-Type: application/json' \\
    -H 'Accept: application/json' \\
    -d $'{{
"amount" : {AMOUNT_MINOR},
"token" : "tok_visa"
}}'

{paint("Hear about a charge, from its beginning:", "bold")}
curl -N -H "Authorization: Bearer {stage.app_key}" "{stage.url}/transactions/{scene.charge["id"]}/events"

{paint("Hear about every payment:", "bold")}
curl -N -H "Authorization: Bearer {stage.server_key}" "{stage.url}/events/stream?after=latest"

{paint("Charge once, however often this is sent:", "bold")}
curl -X POST {stage.url}/charges -H "Authorization: Bearer {stage.app_key}" -H "Idempotency-Key: order-1" \\
    -d '{{"token": "tok_visa", "amount_minor": 990}}'

{paint("Make Stripe misbehave: deliver every second event twice", "bold")}
curl -X POST {stage.stripe_url}/_sim/faults -H 'Content-Type: application/json' -d '{{"duplicate": 0.5}}'

{paint("Read the log beside the service:", "bold")}
tillport events list --database sqlite:///{stage.database}
"""
    )
    try:
        while stage.running():
            time.sleep(0.5)
        complain("one of the servers ended by itself")
    except KeyboardInterrupt:
        say("Ending both.")

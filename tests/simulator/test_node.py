"""stripe-node, unmodified: create, confirm, capture, expand, lists, errors, idempotency, constructEvent."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from realclients import STRIPE_NODE, npm_folder

from tillport.simulator import Simulator
from tillport.simulator.server import Server


@pytest.mark.node
def test_stripe_node_pays_and_verifies_what_it_hears() -> None:
    node = shutil.which("node")
    assert node is not None
    folder = npm_folder()
    with Server(Simulator(seed=1, settle_seconds=0.05)) as server:
        done = subprocess.run(
            [node, str(Path(__file__).with_name("client_node.mjs"))],
            env={
                "PATH": os.environ["PATH"],
                "TILLPORT_URL": server.url,
                "TILLPORT_KEY": server.simulator.secret_key,
                "TILLPORT_PUBLISHABLE": server.simulator.publishable_key,
                "TILLPORT_NPM": str(folder),
            },
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["events"] > 10
    package = json.loads((folder / "node_modules" / "stripe" / "package.json").read_text())
    assert package["version"] == STRIPE_NODE

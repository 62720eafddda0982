"""Webhooks are lost for days, records are broken one by one: reconciling finds every bit of it, and changes nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from high_street import DAY, SHOP, Town
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stripe import APIConnectionError

from tillport.adapters.cli.reconcile import reconcile
from tillport.adapters.compose import Secret, Service
from tillport.adapters.compose.catch_up import drive, open_reconciling
from tillport.adapters.conformance.samples import event
from tillport.domain.differences import DifferenceKind
from tillport.domain.reconcile import Phase, Reconciliation, Report
from tillport.domain.window import InvalidWindow, window
from tillport.ports.history import EventPage, MovementPage
from tillport.ports.ledger import AttemptState, Outcome
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder, GatewayMisconfigured, GatewayUnavailable
from tillport.simulator.sdk import SimulatorHTTPClient

K = DifferenceKind


async def logged_ids(service: Service) -> list[str]:
    page = await service.stores.log.read(after=0, limit=100_000)
    return [one.event.id for one in page.events]


def kinds(report: Report) -> list[DifferenceKind]:
    return [one.kind for one in report.differences]


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


# Catching up ---------------------------------------------------------------------------------------------------------


async def test_webhooks_that_were_lost_for_days_are_all_found(town: Town) -> None:
    async with town.till() as service:
        for _day in range(5):
            for _ in range(4):
                await town.charge(service)
                town.simulator.advance(3600)
            await town.deliver(service, lost=lambda _attempt: True)
            town.simulator.advance(DAY - 4 * 3600)
        assert await logged_ids(service) == []
        rings = service.stores.doorbell.rings
        report = await town.reconcile(service)
        logged = await logged_ids(service)
        assert set(logged) == town.stripe_ids()
        assert sum(report.recorded.values()) == len(logged) == report.listed
        assert report.recorded["charge.succeeded"] == 20
        assert service.stores.doorbell.rings > rings
        assert report.agrees, report.differences
        created = [(await service.stores.log.find(one)).event.created for one in logged]  # type: ignore[union-attr]
        assert created == sorted(created), "in the order in which they happened"


async def test_what_was_caught_up_is_relayed_like_a_webhook(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        await town.deliver(service, lost=lambda _attempt: True)
        town.simulator.advance(DAY)
        await town.reconcile(service)
        await service.loops[0].step()
        assert {one.id for one in service.channel.messages} == town.stripe_ids()


async def test_twice_is_as_good_as_once(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        await town.deliver(service, lost=lambda _attempt: True)
        town.simulator.advance(DAY)
        first = await town.reconcile(service)
        before = town.path.read_bytes()
        logged = await logged_ids(service)
        second = await town.reconcile(service)
        assert (first.agrees, second.agrees) == (True, True)
        assert second.recorded == {}
        assert second.listed == first.listed
        assert await logged_ids(service) == logged
        assert town.path.read_bytes() == before


async def test_a_webhook_that_comes_after_all_changes_nothing(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        town.simulator.advance(1)  # the webhooks are still on their way
        report = await town.reconcile(service)
        assert sum(report.recorded.values()) == len(town.stripe_ids())
        await town.deliver(service)
        assert len(await logged_ids(service)) == len(town.stripe_ids())


async def test_what_no_endpoint_acknowledged_can_be_asked_for_alone(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        await town.deliver(service)
        acknowledged = set(await logged_ids(service))
        await town.charge(service)
        town.simulator.deliver(lambda _attempt: 500)
        town.simulator.advance(3600)
        report = await town.reconcile(service, undelivered=True)
        assert report.listed == len(town.stripe_ids() - acknowledged)
        assert set(await logged_ids(service)) == town.stripe_ids()
        assert report.agrees, report.differences


async def test_an_outage_in_the_middle_is_gone_on_from(town: Town) -> None:
    async with town.till() as service:
        for _ in range(6):
            await town.charge(service)
            town.simulator.advance(DAY / 2)
        now = town.clock.now()
        async with open_reconciling(
            town.settings, clock=town.clock, stores=service.stores, stripe_http_client=town.client
        ) as using:
            dying = Dying(using.history, calls=5)
            run = Reconciliation(attrs.evolve(using, history=dying), window(since=now - 5 * DAY, now=now))
            ended_by = await drive(run, town.clock, tell=lambda _report: None)
            assert isinstance(ended_by, GatewayUnavailable)
            assert not run.report.agrees
            assert run.report.phase is Phase.EVENTS
            reached = run.report.caught_up_to
            missing = town.stripe_ids() - set(await logged_ids(service))
            assert missing, "the outage came before the end"
            found = (await using.history.events(since=0)).events
            by_id = {json.loads(one)["id"]: json.loads(one)["created"] for one in found}
            assert all(by_id[one] >= reached for one in missing)
            dying.calls = 10_000
            assert await drive(run, town.clock, tell=lambda _report: None) is None
        assert run.report.agrees, run.report.differences
        # The pauses took time, in which Stripe went on: what happened since then is for the next run.
        asked_for = {one for one, created in by_id.items() if created < now}
        assert asked_for <= set(await logged_ids(service)) <= town.stripe_ids()


@attrs.define
class Dying:
    """Stripe, out of reach after so many calls."""

    history: Any
    calls: int

    async def events(self, **asked: Any) -> Any:
        self._spend()
        return await self.history.events(**asked)

    async def movements(self, **asked: Any) -> Any:
        self._spend()
        return await self.history.movements(**asked)

    def _spend(self) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise GatewayUnavailable("Stripe could not be asked.")


async def test_more_in_one_slice_than_is_held_at_once_is_cut_smaller(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tillport.domain.reconcile.SLICE_EVENTS_MAX", 20)
    async with town.till() as service:
        for _ in range(60):
            await town.charge(service)
            town.simulator.advance(5)
        town.simulator.advance(DAY)
        report = await town.reconcile(service)
        assert report.agrees, report.differences
        assert set(await logged_ids(service)) == town.stripe_ids()


async def test_events_of_the_other_mode_are_never_recorded(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        now = town.clock.now()
        async with open_reconciling(
            town.settings, clock=town.clock, stores=service.stores, stripe_http_client=town.client
        ) as using:
            run = Reconciliation(attrs.evolve(using, livemode=True), window(since=now - DAY, now=now + 1))
            while run.report.phase is Phase.EVENTS:
                await run.step()
        assert await logged_ids(service) == []
        assert set(kinds(run.report)) == {K.NOT_RECORDED}
        assert {one.event_id for one in run.report.differences} == town.stripe_ids()


async def test_what_was_tried_out_in_test_mode_is_not_missed_in_live_mode(town: Town) -> None:
    async with town.till() as service:
        await town.charge(service)
        await town.deliver(service)
        town.simulator.advance(DAY)
        now = town.clock.now()
        async with open_reconciling(
            town.settings, clock=town.clock, stores=service.stores, stripe_http_client=town.client
        ) as using:
            quiet = attrs.evolve(using, livemode=True, history=Quiet())
            run = Reconciliation(quiet, window(since=now - 7 * DAY, now=now))
            assert await drive(run, town.clock, tell=lambda _report: None) is None
        assert run.report.attempts == 1
        assert run.report.agrees, run.report.differences


class Quiet:
    """An account on which nothing has happened yet."""

    async def events(self, **_asked: Any) -> EventPage:
        return EventPage(events=(), cursor=None)

    async def movements(self, **_asked: Any) -> MovementPage:
        return MovementPage(movements=(), cursor=None)


async def test_test_events_are_kept_out_of_a_log_of_live_payments(town: Town, capsys) -> None:
    """Somebody names the live database, and the key in their environment is the one for trying things out."""
    async with town.till() as service:
        await town.charge(service)
        town.simulator.advance(DAY)
        await service.stores.log.record([event(1, livemode=True)])
        code = await reconcile(
            town.settings, since="7d", clock=town.clock, stripe_http_client=town.client, pauses_seconds=()
        )
        assert code == 1
        assert "this database holds live payments" in capsys.readouterr().err
        assert await logged_ids(service) == ["evt_1"]


@pytest.mark.parametrize("forged", [0, 2])
async def test_another_accounts_events_are_kept_out_of_the_log(
    town: Town, tmp_path, capsys, forged: int
) -> None:
    """The key in the environment is of the same mode, and of another shop."""
    other = Town(tmp_path, seed=2)
    other.simulator.payment_intents.create(
        amount=700, currency="usd", payment_method="pm_card_visa", confirm=True
    )
    async with town.till() as service:
        await town.charge(service)
        await town.deliver(service)
        for number in range(forged):  # what nobody lists does not make the right key a wrong one
            await service.stores.log.record([event(number, created=int(town.clock.now()))])
        town.simulator.advance(DAY)
        before = await logged_ids(service)
        elsewhere = attrs.evolve(town.settings, stripe_secret_key=other.settings.stripe_secret_key)
        code = await reconcile(
            elsewhere, since="7d", clock=town.clock, stripe_http_client=other.client, pauses_seconds=()
        )
        assert code == 1
        assert "another account" in capsys.readouterr().err
        assert await logged_ids(service) == before
        report = await town.reconcile(service)
        assert len(report.differences) == forged


def test_the_window_is_bounded_by_what_stripe_remembers() -> None:
    assert window(since=0.0, now=100 * DAY) == window(since=70 * DAY - 1, now=100 * DAY)
    assert not window(since=70 * DAY, now=100 * DAY).cut
    with pytest.raises(InvalidWindow):
        window(since=5.0, now=5.0)


# Three ways, each broken -----------------------------------------------------------------------------------------------


async def three_days_of_trade(town: Town, service: Service) -> list[str]:
    """Return the keys of three charges, one of them refunded, whose webhooks all arrived; a day has passed since."""
    keys = []
    for number in range(3):
        keys.append(await town.charge(service, 1000 + number))
        town.simulator.advance(DAY)
        await town.deliver(service)
    attempt = await service.stores.ledger.find(keys[1])
    assert attempt is not None
    town.simulator.refunds.create(charge=attempt.outcome.charge_id)
    town.simulator.advance(DAY)
    await town.deliver(service)
    return keys


async def test_what_is_whole_agrees(town: Town) -> None:
    async with town.till() as service:
        await three_days_of_trade(town, service)
        report = await town.reconcile(service)
        assert (report.attempts, report.movements) == (3, 4)
        assert report.agrees, report.differences


async def test_charges_of_a_till_on_a_connected_account_are_not_ours(town: Town) -> None:
    async with town.till() as service:
        await three_days_of_trade(town, service)
        theirs = event(
            1, account="acct_1", request_key="tillport-of-their-till", created=int(town.clock.now())
        )
        await service.stores.log.record([theirs])
        town.simulator.advance(DAY)
        report = await town.reconcile(service)
        assert report.agrees, report.differences


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("declined", K.CHARGED_AGAINST_LEDGER),
        ("refused", K.CHARGED_AGAINST_LEDGER),
        ("not_charged", K.CHARGED_AGAINST_LEDGER),
        ("not_sent", K.CHARGED_AGAINST_LEDGER),
        ("unknown", K.NOT_SETTLED),
        ("started", K.NOT_SETTLED),
    ],
)
async def test_a_ledger_that_says_otherwise_is_found(town: Town, state: str, kind: DifferenceKind) -> None:
    async with town.till() as service:
        keys = await three_days_of_trade(town, service)
        assert town.change("UPDATE tillport_attempts SET state = ? WHERE key = ?", state, keys[0]) == 1
        report = await town.reconcile(service)
        assert [(one.kind, one.attempt_key) for one in report.differences] == [(kind, keys[0])]
        assert not report.agrees
        assert report.differences[0].remedy


async def test_an_attempt_that_the_ledger_lost_is_found(town: Town) -> None:
    async with town.till() as service:
        keys = await three_days_of_trade(town, service)
        town.change("DELETE FROM tillport_attempts WHERE key = ?", keys[2])
        report = await town.reconcile(service)
        assert [(one.kind, one.attempt_key) for one in report.differences] == [(K.NOT_IN_LEDGER, keys[2])]


async def test_another_amount_in_the_ledger_is_found(town: Town) -> None:
    async with town.till() as service:
        keys = await three_days_of_trade(town, service)
        town.change("UPDATE tillport_attempts SET amount_minor = 1 WHERE key = ?", keys[0])
        report = await town.reconcile(service)
        assert [(one.kind, one.attempt_key) for one in report.differences] == [(K.AMOUNT_DIFFERS, keys[0])]


async def test_a_second_charge_for_one_attempt_is_found(town: Town) -> None:
    async with town.till() as service:
        keys = await three_days_of_trade(town, service)
        town.simulator.payment_intents.create(
            amount=1000,
            currency="usd",
            payment_method="pm_card_visa",
            confirm=True,
            metadata={"tillport_attempt": keys[0]},
        )
        town.simulator.advance(DAY)
        await town.deliver(service)
        report = await town.reconcile(service)
        assert [(one.kind, one.attempt_key) for one in report.differences] == [(K.CHARGED_TWICE, keys[0])]


async def test_a_success_without_money_is_found(town: Town) -> None:
    async with town.till() as service:
        keys = await three_days_of_trade(town, service)
        attempt = await service.stores.ledger.find(keys[0])
        assert attempt is not None
        ghost = attrs.evolve(
            attempt,
            key="tillport-ghost",
            outcome=Outcome(state=AttemptState.SUCCEEDED, charge_id="ch_ghost"),
        )
        await service.stores.ledger.open(ghost)
        report = await town.reconcile(service)
        assert sorted(kinds(report)) == sorted([K.NO_MOVEMENT, K.NO_EVENT])
        assert {one.charge_id for one in report.differences} == {"ch_ghost"}


async def test_an_event_that_stripe_never_sent_is_found(town: Town) -> None:
    async with town.till() as service:
        await three_days_of_trade(town, service)
        created = int(town.clock.now() - DAY)
        forged = event(1, created=created, request_key=None)
        await service.stores.log.record([forged])
        report = await town.reconcile(service)
        assert [(one.kind, one.event_id) for one in report.differences] == [(K.NOT_AT_STRIPE, "evt_1")]


async def test_an_event_that_can_come_no_more_is_missed(town: Town) -> None:
    """The events of a charge are gone from the log, and Stripe's list is narrowed so that it does not help."""
    async with town.till() as service:
        await three_days_of_trade(town, service)
        assert town.change("DELETE FROM \"StripeEvents\" WHERE type LIKE '%refund%'") >= 1
        report = await town.reconcile(service, undelivered=True)
        assert kinds(report) == [K.NO_EVENT]
        assert report.differences[0].movement_id is not None
        healed = await town.reconcile(service)
        assert healed.agrees, healed.differences


async def test_what_was_forgotten_on_purpose_is_not_missed(town: Town) -> None:
    async with town.till() as service:
        await three_days_of_trade(town, service)
        now = town.clock.now()
        assert await service.stores.log.forget(received_before=now, up_to=2**62, now=now) > 0
        assert (await town.reconcile(service)).agrees
        await town.charge(service)  # what the log begins with from now on
        await town.deliver(service)
        begins = town.clock.now()
        town.simulator.advance(1.5 * DAY)
        await town.charge(service)
        await town.deliver(service)
        town.simulator.advance(DAY)
        report = await town.reconcile(service)
        assert report.agrees, report.differences
        assert report.log_begins == begins
        town.change('DELETE FROM "StripeEvents" WHERE received_at > ?', begins)
        report = await town.reconcile(service, undelivered=True)
        assert kinds(report) == [K.NO_EVENT], "and of what came later everything is missed"


async def test_charges_that_tillport_did_not_make_agree_with_an_empty_ledger(town: Town) -> None:
    async with town.till() as service:
        town.simulator.payment_intents.create(
            amount=500, currency="jpy", payment_method="pm_card_visa", confirm=True
        )
        town.simulator.advance(DAY)
        assert (await town.reconcile(service)).agrees


async def test_what_is_minutes_old_is_not_judged(town: Town) -> None:
    async with town.till() as service:
        key = await town.charge(service)
        town.change("UPDATE tillport_attempts SET state = 'unknown', busy_until = 0 WHERE key = ?", key)
        assert (await town.reconcile(service)).agrees
        town.simulator.advance(3600)
        assert kinds(await town.reconcile(service)) == [K.NOT_SETTLED]


async def test_an_old_attempt_that_was_charged_a_moment_ago_is_not_judged(town: Town) -> None:
    """Stripe was away for hours, the resolver's next try went through, and the operator reconciles at once."""
    async with town.till() as service:
        key = await town.charge(service)
        town.change(
            "UPDATE tillport_attempts SET started_at = started_at - 7200, tries = 9 WHERE key = ?", key
        )
        report = await town.reconcile(service)
        assert report.attempts == 1
        assert report.agrees, report.differences
        town.change("UPDATE tillport_attempts SET charge_id = 'ch_ghost' WHERE key = ?", key)
        town.simulator.advance(3600)
        assert K.NO_MOVEMENT in kinds(await town.reconcile(service)), "but later it is"


async def test_an_attempt_that_is_not_settled_is_told_of_once(town: Town) -> None:
    """The event names a charge that the ledger has never heard of."""
    async with town.till() as service:
        key = await town.charge(service)
        await town.deliver(service)
        town.simulator.advance(3600)
        lost = "state = 'unknown', busy_until = 0, outcome_body = '{}', charge_id = NULL, payment_intent_id = NULL"
        town.change(f"UPDATE tillport_attempts SET {lost} WHERE key = ?", key)
        report = await town.reconcile(service)
        assert [(one.kind, one.attempt_key) for one in report.differences] == [(K.NOT_SETTLED, key)]
        assert report.differences[0].charge_id is not None


async def test_an_unknown_outcome_is_told_until_the_resolver_settles_it(town: Town) -> None:
    async with town.till() as service:
        key = await town.charge(service)
        town.simulator.advance(7200)
        town.change("UPDATE tillport_attempts SET state = 'unknown', busy_until = 0 WHERE key = ?", key)
        report = await town.reconcile(service)
        assert kinds(report) == [K.NOT_SETTLED]
        await service.loops[1].step()
        assert (await town.reconcile(service)).agrees


async def test_what_waits_for_a_persons_approval_is_told_with_where_that_is_given(town: Town) -> None:
    async with town.till() as service:
        town.simulator.script("approval_required")
        await service.till.charge(ChargeOrder("tok_visa", Money(1250, "usd")), caller=SHOP)
        for _ in range(3):
            town.simulator.advance(DAY)
            await service.loops[1].step()
        (difference,) = (await town.reconcile(service)).differences
        assert difference.kind is K.NOT_SETTLED
        assert "Approvals" in difference.remedy


# Any losses ------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    losses=st.lists(st.booleans(), min_size=30, max_size=30),
    pauses=st.lists(st.sampled_from([0, 1, 59, 3600, 40_000]), min_size=5, max_size=5),
    refunds=st.sets(st.integers(0, 4)),
    seed=st.integers(0, 3),
)
def test_whatever_was_lost_is_found(tmp_path_factory, losses, pauses, refunds, seed) -> None:
    import asyncio

    async def play() -> None:
        town = Town(tmp_path_factory.mktemp("town"), seed)
        chances = iter(losses * 10)
        async with town.till() as service:
            for number, pause in enumerate(pauses):
                key = await town.charge(service, 1000 + number)
                town.simulator.advance(pause)
                attempt = await service.stores.ledger.find(key)
                assert attempt is not None
                if number in refunds:
                    town.simulator.refunds.create(charge=attempt.outcome.charge_id)
                await town.deliver(service, lost=lambda _attempt: next(chances))
            town.simulator.advance(3600)
            missing = town.stripe_ids() - set(await logged_ids(service))
            report = await town.reconcile(service)
            assert sum(report.recorded.values()) == len(missing)
            assert sorted(await logged_ids(service)) == sorted(town.stripe_ids())
            assert report.agrees, report.differences
            assert (await town.reconcile(service)).recorded == {}

    asyncio.run(play())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 6), min_size=1, max_size=4), charges=st.integers(1, 6))
def test_a_run_that_is_cut_anywhere_is_made_good_by_the_next(tmp_path_factory, cuts, charges) -> None:
    """Each run dies after some steps, as a process that is killed does; the last one is let be."""
    import asyncio

    async def play() -> None:
        town = Town(tmp_path_factory.mktemp("town"))
        async with town.till() as service:
            for _ in range(charges):
                await town.charge(service)
                town.simulator.advance(DAY / 3)
            for cut in cuts:
                now = town.clock.now()
                async with open_reconciling(
                    town.settings, clock=town.clock, stores=service.stores, stripe_http_client=town.client
                ) as using:
                    run = Reconciliation(using, window(since=now - 7 * DAY, now=now))
                    for _ in range(cut):
                        await run.step()
            report = await town.reconcile(service)
            assert report.agrees, report.differences
            logged = await logged_ids(service)
            assert len(logged) == len(set(logged))
            assert set(logged) == town.stripe_ids()

    asyncio.run(play())


async def test_beside_webhooks_that_arrive_each_event_is_recorded_once(town: Town) -> None:
    import asyncio

    async with town.till() as service:
        for _ in range(30):
            await town.charge(service)
            town.simulator.advance(60)
        events = sorted(town.stripe_ids())
        report, *_ = await asyncio.gather(
            town.reconcile(service), town.deliver(service), town.reconcile(service)
        )
        logged = await logged_ids(service)
        assert sorted(logged) == events
        assert report.agrees, report.differences


# The command -----------------------------------------------------------------------------------------------------------


async def test_the_command_tells_what_it_did_and_whether_all_agrees(town: Town, capsys) -> None:
    async with town.till() as service:
        key = await town.charge(service)
        town.simulator.advance(DAY)
        options: dict[str, Any] = {
            "since": "7d", "clock": town.clock, "stripe_http_client": town.client
        }  # fmt: skip
        assert await reconcile(town.settings, **options) == 0
        said = capsys.readouterr()
        assert "charge.succeeded" in said.out
        assert "Ledger, log and Stripe's books agree." in said.out
        assert "100%" not in said.out, "progress is not the report"
        assert "movements" in said.err
        town.change("UPDATE tillport_attempts SET state = 'declined' WHERE key = ?", key)
        assert await reconcile(town.settings, as_json=True, **options) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["complete"], told["agrees"], told["recorded"]) == (True, False, {})
        [difference] = told["differences"]
        assert difference["kind"] == "charged_against_ledger"
        assert difference["attempt_key"] == key
        assert "tok_" not in json.dumps(told)


async def test_the_command_says_that_thirty_days_is_the_end(town: Town, capsys) -> None:
    assert await reconcile(
        town.settings, since="90d", clock=town.clock, stripe_http_client=town.client
    ) == 0  # fmt: skip
    assert "30 days" in capsys.readouterr().err


async def test_a_run_that_ends_early_says_how_to_go_on(town: Town, capsys) -> None:
    refused = attrs.evolve(town.settings, stripe_secret_key=Secret("sk_test_of_nobody"))
    code = await reconcile(
        refused, since="1d", clock=town.clock, stripe_http_client=town.client, pauses_seconds=()
    )
    assert code == 1
    assert "Go on with: tillport reconcile --since" in capsys.readouterr().err


async def test_who_goes_on_is_told_that_the_beginning_is_not_compared(town: Town, capsys) -> None:
    class Leaving(SimulatorHTTPClient):
        """Stripe, out of reach after some pages."""

        pages = 4

        async def request_async(self, *asked: Any, **more: Any) -> Any:
            self.pages -= 1
            if self.pages < 0:
                raise APIConnectionError("out of reach", should_retry=False)
            return await super().request_async(*asked, **more)

    async with town.till() as service:
        key = await town.charge(service)
        town.simulator.advance(6.8 * DAY)
    town.change("UPDATE tillport_attempts SET state = 'declined' WHERE key = ?", key)
    options: dict[str, Any] = {"clock": town.clock, "pauses_seconds": ()}
    leaving = Leaving(town.simulator)
    assert await reconcile(town.settings, since="7d", stripe_http_client=leaving, **options) == 1
    narrower, whole = re.findall(r"tillport reconcile --since (\S+)", capsys.readouterr().err)
    assert await reconcile(town.settings, since=narrower, stripe_http_client=town.client, **options) == 0
    assert await reconcile(town.settings, since=whole, stripe_http_client=town.client, **options) == 1
    assert "charged_against_ledger" in capsys.readouterr().out


async def test_what_waiting_does_not_help_ends_at_once(town: Town) -> None:
    async with town.till() as service:
        now = town.clock.now()
        settings = attrs.evolve(town.settings, stripe_secret_key=Secret("sk_test_of_nobody"))
        async with open_reconciling(
            settings, clock=town.clock, stores=service.stores, stripe_http_client=town.client
        ) as using:
            run = Reconciliation(using, window(since=now - DAY, now=now))
            assert isinstance(await drive(run, town.clock, tell=lambda _report: None), GatewayMisconfigured)
        assert town.clock.now() == now

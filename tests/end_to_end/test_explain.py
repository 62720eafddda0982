"""`explain`: from any of its names, the whole story of a payment, and nothing that is not to be shown."""

import json
from typing import Any

import attrs
import pytest
from high_street import DAY, SHOP, Town

from tillport.adapters.compose import Service
from tillport.domain.explain import Evidence, Explaining, Step, gather, story, verdict
from tillport.ports.effects import Effect, EffectState
from tillport.ports.ledger import Outcome
from tillport.ports.money import Money
from tillport.ports.payments import ChargeOrder


@pytest.fixture
def town(tmp_path) -> Town:
    return Town(tmp_path)


async def evidence_of(service: Service, name: str, **options: Any) -> Evidence:
    stores = service.stores
    return await gather(
        name, Explaining(log=stores.log, attempts=stores.attempts, cursors=stores.cursors, **options)
    )


async def paid(town: Town, service: Service, token: str = "tok_visa") -> Any:
    order = ChargeOrder(token, Money(1250, "usd"), "for Jenny Rosen", {"email": "jenny@example.com"})
    answer = await service.till.charge(order, caller=SHOP)
    attempt = await service.stores.ledger.find(answer.attempt_key)
    assert attempt is not None
    return attempt


async def test_every_name_of_a_payment_leads_to_the_same_story(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        await paid(town, service)  # another one, to be left out
        town.simulator.advance(5)
        await town.deliver(service)
        refund = town.simulator.refunds.create(charge=attempt.outcome.charge_id)
        town.simulator.advance(7)
        await town.deliver(service)
        first = await evidence_of(service, attempt.key)
        assert [one.key for one in first.attempts] == [attempt.key]
        types = {one.event.type for one in first.events}
        assert {"charge.succeeded", "payment_intent.succeeded", "charge.refunded"} <= types
        outcome = attempt.outcome
        names = [outcome.charge_id, outcome.payment_intent_id, refund.id]
        names += [one.event.id for one in first.events]
        for name in names:
            found = await evidence_of(service, name)
            assert attrs.evolve(found, asked=attempt.key, names=first.names) == first, name


async def test_the_story_is_told_in_time_with_what_came_when(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        town.simulator.advance(42)
        await town.deliver(service)
        evidence = await evidence_of(service, attempt.key)
        moments = story(evidence)
        assert [one.step for one in moments[:2]] == [Step.ATTEMPT, Step.OUTCOME]
        assert [one.at for one in moments] == sorted(one.at for one in moments)  # type: ignore[type-var]
        [came] = [one for one in moments if one.facts.get("type") == "charge.succeeded"]
        assert 42 <= came.facts["lag_seconds"] < 44
        assert came.facts["published"] is False
        assert came.facts["told"]["data"]["status"] == "succeeded"
        said = verdict(evidence)
        assert said[0] == f"Charged 12.50 USD as {attempt.outcome.charge_id}."
        assert any("wait to be published" in one for one in said)
        await service.loops[0].step()
        after = await evidence_of(service, attempt.key)
        assert any(one.startswith("All ") for one in verdict(after))
        assert all(one.facts["published"] for one in story(after) if one.step is Step.EVENT)


async def test_a_webhook_that_has_not_come_is_told(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        said = " ".join(verdict(await evidence_of(service, attempt.key)))
        assert "has not come" in said
        assert "tillport reconcile" in said


async def test_a_decline_says_why(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service, "tok_chargeDeclinedInsufficientFunds")
        [sentence, *_] = verdict(await evidence_of(service, attempt.key))
        assert sentence.startswith("Declined (")
        assert "insufficient_funds" in sentence


async def test_who_must_approve_a_charge_is_told_that_it_is_he_who_is_waited_for(town: Town) -> None:
    async with town.till() as service:
        town.simulator.script("approval_required")
        attempt = await paid(town, service)
        town.simulator.advance(DAY)
        await service.loops[1].step()
        found = await evidence_of(service, attempt.key)
        assert "Approvals" in verdict(found)[0]


async def test_an_attempt_without_ids_is_joined_with_its_events_by_its_key(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        await town.deliver(service)
        town.change(
            "UPDATE tillport_attempts SET state = 'unknown', charge_id = NULL, payment_intent_id = NULL"
        )
        for name in (attempt.key, attempt.outcome.charge_id):
            evidence = await evidence_of(service, name)
            assert [one.key for one in evidence.attempts] == [attempt.key], name
            assert "charge.succeeded" in {one.event.type for one in evidence.events}
            assert any("Stripe has told since" in one for one in verdict(evidence))


async def test_what_nobody_knows_is_empty(town: Town) -> None:
    async with town.till() as service:
        for name in ("ch_none", "evt_none", "tillport-none", "", "x" * 5000, "a\0b", "\ud800"):
            assert (await evidence_of(service, name)).empty, ascii(name)[:20]


async def test_a_charge_that_was_not_made_here_is_told_as_such(town: Town) -> None:
    async with town.till() as service:
        intent = town.simulator.payment_intents.create(
            amount=500, currency="usd", payment_method="pm_card_visa", confirm=True
        )
        await town.deliver(service)
        assert "not charged through this till" in " ".join(verdict(await evidence_of(service, intent.id)))


async def test_nothing_secret_or_personal_is_told(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        town.simulator.refunds.create(charge=attempt.outcome.charge_id)
        await town.deliver(service)
        evidence = await evidence_of(service, attempt.key)
        told = json.dumps([attrs.asdict(one) for one in story(evidence)] + list(verdict(evidence)))
        for secret in ("tok_", "secret", "jenny", "Jenny", "4242", "exp_", "fingerprint", "billing"):
            assert secret not in told, secret
        bodies = b"".join(one.event.body for one in evidence.events)
        assert b"4242" in bodies, "there was something to leave out"
        assert b"jenny@example.com" in bodies


@attrs.define
class Effects:
    """What a queue of effects answers."""

    held: list[Effect]

    async def list(self, *, states, payment_key, limit):
        assert set(states) == set(EffectState)
        return [one for one in self.held if one.payment_key == payment_key][:limit]


async def test_effects_stand_beside_the_event_that_they_are_about(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        await town.deliver(service)
        events = (await evidence_of(service, attempt.key)).events
        target = events[0]
        effect = Effect(
            handler="ship",
            event_id=target.event.id,
            position=target.position,
            payment_key=target.event.payment_key,
            state=EffectState.DEAD,
            tries=8,
            error="ValueError: no such parcel",
        )
        evidence = await evidence_of(service, attempt.key, effects=Effects([effect]))
        moments = story(evidence)
        [at] = [index for index, one in enumerate(moments) if one.step is Step.EFFECT]
        assert moments[at - 1].facts["event_id"] == target.event.id
        assert "gave up after 8" in moments[at].text
        assert any("effects gave up" in one for one in verdict(evidence))


async def test_a_name_that_leads_to_very_much_ends(town: Town) -> None:
    """A till does not hang on a story without end: names and events are bounded."""
    from tillport.adapters.conformance.samples import event

    async with town.till() as service:
        chain = [
            event(number, aliases=(f"ch_{number}", f"ch_{number + 1}"), payment_key="")
            for number in range(400)
        ]
        await service.stores.log.record(chain)
        evidence = await evidence_of(service, "ch_0")
        assert 0 < len(evidence.events) <= 200


async def test_an_erased_payment_can_still_be_explained(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        await town.deliver(service)
        town.change("UPDATE tillport_attempts SET outcome_body = '{\"id\":\"x\"}', state = 'declined'")
        town.change("UPDATE \"StripeEvents\" SET body = '{}'")
        evidence = await evidence_of(service, attempt.key)
        assert verdict(evidence)[0].startswith("Declined")
        assert all(one.facts["told"] is None for one in story(evidence) if one.step is Step.EVENT)


async def test_a_story_of_days_says_how_late_a_webhook_was(town: Town) -> None:
    async with town.till() as service:
        attempt = await paid(town, service)
        await town.deliver(service, lost=lambda _attempt: True)
        town.simulator.advance(2 * DAY)
        await town.reconcile(service)
        lags = [
            one.facts["lag_seconds"]
            for one in story(await evidence_of(service, attempt.key))
            if one.step is Step.EVENT
        ]
        assert lags
        assert min(lags) >= 2 * DAY - 10  # some events come seconds after the charge


def test_outcomes_have_words_for_every_state() -> None:
    from tillport.adapters.conformance.samples import attempt
    from tillport.domain.explain import in_words
    from tillport.ports.ledger import AttemptState

    words = [in_words(attempt(1, outcome=Outcome(state=state))) for state in AttemptState]
    assert None not in words

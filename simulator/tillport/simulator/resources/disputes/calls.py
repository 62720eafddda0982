"""What the API lets a merchant do with a dispute: read it, answer it, give it up."""

from typing import Any

import msgspec

from tillport.simulator import params as p
from tillport.simulator.account import Account
from tillport.simulator.errors import ApiError, invalid
from tillport.simulator.params import Spec
from tillport.simulator.resources import balance_transactions
from tillport.simulator.resources.common import Call, List, difference
from tillport.simulator.resources.disputes.course import DECIDED_SECONDS, check_open, closed, decide
from tillport.simulator.resources.disputes.dispute import FILES, TEXTS, WAITING, Dispute

_MOST_EVIDENCE = 150_000


def _file(value: Any, name: str) -> str:
    read = p.string(value, name)
    if read:
        # A file has to be uploaded first, and files are not modelled: no id can be right.
        raise ApiError(400, f"No such file upload: '{read[:100]}'", code="resource_missing", param=name)
    return read


UPDATE = Spec(
    {
        "evidence": p.hash_of(
            Spec(
                {**dict.fromkeys(TEXTS, p.text(_MOST_EVIDENCE)), **dict.fromkeys(FILES, _file)},
                unmodelled=frozenset({"enhanced_evidence", "appeal"}),
            )
        ),
        "metadata": p.metadata,
        "submit": p.boolean,
    },
    unmodelled=frozenset({"intended_submission_method"}),
)
LIST = p.list_spec(charge=p.string, payment_intent=p.string)


def shown(account: Account, dispute: Dispute) -> Dispute:
    txns = tuple(balance_transactions.shown(account, txn) for txn in dispute.balance_transactions)
    return msgspec.structs.replace(dispute, balance_transactions=txns) if txns else dispute


def retrieve(account: Account, call: Call, params: dict[str, Any], dispute_id: str) -> Dispute:
    return shown(account, account.disputes.get(dispute_id, "dispute"))


def list_(account: Account, call: Call, params: dict[str, Any]) -> List:
    page = account.disputes.page(
        params, where={"charge": params.get("charge"), "payment_intent": params.get("payment_intent")}
    )
    return List(data=[shown(account, d) for d in page.data], has_more=page.has_more, url="/v1/disputes")


def update(account: Account, call: Call, params: dict[str, Any], dispute_id: str) -> Dispute:
    """Stage evidence, or submit it (the default): submitted evidence can't be taken back."""
    old: Dispute = account.disputes.get(dispute_id, "dispute")
    changes: dict[str, Any] = {}
    previous: dict[str, Any] = {}
    if "metadata" in params:
        changes["metadata"] = p.merged(old.metadata, params["metadata"])
        if changes["metadata"] != old.metadata:
            previous |= difference(old, msgspec.structs.replace(old, **changes), ("metadata",))
    evidence = params.get("evidence") or {}
    submit = params.get("submit", bool(evidence))
    if evidence or submit:
        check_open(old)
        if old.status not in WAITING:
            raise invalid("The evidence of this dispute has already been submitted to the bank.", "evidence")
        given = {k: v or None for k, v in evidence.items()}
        changes["evidence"] = {**old.evidence, **given}
        if sum(len(text) for text in changes["evidence"].values() if isinstance(text, str)) > _MOST_EVIDENCE:
            raise invalid(
                f"The combined character count of all fields of the evidence is limited to {_MOST_EVIDENCE}.",
                "evidence",
            )
        details = msgspec.structs.replace(
            old.evidence_details,
            has_evidence=any(v for k, v in changes["evidence"].items() if k != "enhanced_evidence"),
            submission_count=old.evidence_details.submission_count + submit,
            submission_method="manual" if submit else old.evidence_details.submission_method,
        )
        changes["evidence_details"] = details
        was = {k: old.evidence[k] for k, v in given.items() if old.evidence[k] != v}
        previous |= {"evidence": was} if was else {}
        moved = {
            k: getattr(old.evidence_details, k)
            for k in ("has_evidence", "submission_count", "submission_method")
            if getattr(old.evidence_details, k) != getattr(details, k)
        }
        previous |= {"evidence_details": moved} if moved else {}
        if submit:
            changes["status"] = "under_review" if old.status == "needs_response" else "warning_under_review"
            previous["status"] = old.status
    new = account.disputes.put(msgspec.structs.replace(old, **changes))
    if previous:
        account.emit("charge.dispute.updated", new, call.origin, previous)
    text = new.evidence["uncategorized_text"]
    if "status" in changes and text in ("winning_evidence", "losing_evidence", "escalate_inquiry_evidence"):
        account.schedule(DECIDED_SECONDS, decide, new.id, text)
    return shown(account, new)


def close(account: Account, call: Call, params: dict[str, Any], dispute_id: str) -> Dispute:
    """Accept the loss: nothing more can be said for the payment."""
    dispute: Dispute = account.disputes.get(dispute_id, "dispute")
    check_open(dispute)
    ending = "warning_closed" if dispute.status.startswith("warning_") else "lost"
    return shown(account, closed(account, dispute, ending, call.origin))


def _of_charge(account: Account, charge_id: str) -> str:
    charge = account.charges.get(charge_id, "charge")
    if charge.dispute is None:
        raise ApiError(404, f"No dispute for charge: {charge_id}", code="resource_missing", param="charge")
    found: str = charge.dispute
    return found


def dispute_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Dispute:
    return retrieve(account, call, params, _of_charge(account, charge_id))


def update_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Dispute:
    return update(account, call, params, _of_charge(account, charge_id))


def close_of_charge(account: Account, call: Call, params: dict[str, Any], charge_id: str) -> Dispute:
    return close(account, call, params, _of_charge(account, charge_id))

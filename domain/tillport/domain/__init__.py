"""The core: charge, verify, record, notify. Pure: it does no I/O, and depends on the ports alone.

This is the menu; each dish is in a module of its name.
"""

from tillport.domain.access import Forbidden, may_hear, sees_raw
from tillport.domain.amounts import Limits
from tillport.domain.charge import (
    ChargeAnswer,
    ChargeInProgress,
    ChargeRefused,
    Charging,
    Failure,
    InvalidOrder,
    KeyReused,
    charge,
    charge_status,
)
from tillport.domain.differences import Difference, DifferenceKind
from tillport.domain.erase import ErasableLog, Erased, erase
from tillport.domain.forget import Forgettable, Reach, forget, forgettable, reach
from tillport.domain.handlers import Handler, HandlerRefused, Handlers, Retries
from tillport.domain.notify import (
    Idle,
    Relayed,
    Reset,
    follow,
    message_of,
    projection,
    relay_once,
)
from tillport.domain.reconcile import Reconciliation, Reconciling, Report
from tillport.domain.record import event_of, record
from tillport.domain.replay import reenlist_once, replay_once
from tillport.domain.resolve import Resolved, resolve_once
from tillport.domain.selector import parse_selector
from tillport.domain.status import Status, take_status
from tillport.domain.sync import Suspended, run
from tillport.domain.till import Receipt, Till, UnsafeConfiguration
from tillport.domain.verify import (
    NoSigningSecret,
    NotAnEvent,
    SignatureMalformed,
    SignatureMismatch,
    SignatureMissing,
    TimestampOutsideTolerance,
    VerifiedEvent,
    Verifier,
    WebhookRefused,
    WrongMode,
)
from tillport.ports.client_secret import without_client_secret

__all__ = [
    "ChargeAnswer",
    "ChargeInProgress",
    "ChargeRefused",
    "Charging",
    "Difference",
    "DifferenceKind",
    "ErasableLog",
    "Erased",
    "Failure",
    "Forbidden",
    "Forgettable",
    "Handler",
    "HandlerRefused",
    "Handlers",
    "Idle",
    "InvalidOrder",
    "KeyReused",
    "Limits",
    "NoSigningSecret",
    "NotAnEvent",
    "Reach",
    "Receipt",
    "Reconciliation",
    "Reconciling",
    "Relayed",
    "Report",
    "Reset",
    "Resolved",
    "Retries",
    "SignatureMalformed",
    "SignatureMismatch",
    "SignatureMissing",
    "Status",
    "Suspended",
    "Till",
    "TimestampOutsideTolerance",
    "UnsafeConfiguration",
    "VerifiedEvent",
    "Verifier",
    "WebhookRefused",
    "WrongMode",
    "charge",
    "charge_status",
    "erase",
    "event_of",
    "follow",
    "forget",
    "forgettable",
    "may_hear",
    "message_of",
    "parse_selector",
    "projection",
    "reach",
    "record",
    "reenlist_once",
    "relay_once",
    "replay_once",
    "resolve_once",
    "run",
    "sees_raw",
    "take_status",
    "without_client_secret",
]

"""What sessions on PostgreSQL ask the server for, and how one is known whose server only reads. Nothing here needs a driver."""

from typing import Final

KEEPALIVES: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""A client that vanished must not hold a lock for hours: the server finds that out by itself in eleven seconds."""

SESSION_SETTINGS: Final = {
    "application_name": "tillport",
    "default_transaction_isolation": "read committed",
    **KEEPALIVES,
    "jit": "off",  # compiling costs more than any statement here takes
}
"""What every session of ours asks for."""

_READ_ONLY: Final = "25006"


def only_reads(error: BaseException) -> bool:
    """Tell whether PostgreSQL said that it only reads. The connection is sound otherwise, so a pool would lend it again.

    After a failover that would be for ever: it leads to the server that was demoted, wherever the address leads by now.
    """
    return any(getattr(one, "sqlstate", None) == _READ_ONLY for one in (error, error.__cause__))

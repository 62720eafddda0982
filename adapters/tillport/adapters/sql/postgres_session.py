"""What sessions on PostgreSQL ask the server for. Constants alone: whoever needs one needs no driver for it."""

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

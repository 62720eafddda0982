"""The ground floor: one module per port, holding its protocol, the values that cross it and its errors.

A port is what the core needs from the world. Import it from its own module::

    from tillport.ports.event_log import Event, EventLog
    from tillport.ports.payments import ChargeOrder, PaymentGateway

Nothing here imports anything else of Tillport, and nothing here does I/O.
"""

"""NATS JetStream as the courier: the channel, and durable consumers for the services that listen.

Needs `pip install tillport[nats]`. A real server for tests is in `tillport.adapters.nats.testing`.
"""

from tillport.adapters.nats.channel import NatsChannel
from tillport.adapters.nats.consumer import Delivery, NatsConsumer
from tillport.adapters.nats.link import Access, AccessRefused
from tillport.adapters.nats.stream import StreamSettings, StreamUnfit

__all__ = [
    "Access",
    "AccessRefused",
    "Delivery",
    "NatsChannel",
    "NatsConsumer",
    "StreamSettings",
    "StreamUnfit",
]

"""Stripe itself, by its official SDK. Importing this package imports the SDK: needs `tillport[stripe]`."""

from tillport.adapters.stripe.connection import STRIPE_API, Patience, StripeConnection, livemode_of
from tillport.adapters.stripe.gateway import StripeGateway
from tillport.adapters.stripe.history import StripeHistory

__all__ = ["STRIPE_API", "Patience", "StripeConnection", "StripeGateway", "StripeHistory", "livemode_of"]

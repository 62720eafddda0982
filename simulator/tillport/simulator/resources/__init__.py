"""Stripe's resources: one file each, with its objects, its lifecycle and its table of routes."""

"""Wrecking a real service: processes that are killed, shoppers who insist, and a checker who reads what is left."""

"""Webhooks: what is told to whom about jobs, and a ledger of every attempt to tell it."""

"""Upkeep: what any worker does for the whole fleet, so that it needs no process of its own."""

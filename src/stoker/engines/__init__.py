"""Adapters: one engine's wire and gauges each. They differ in little, and say in what."""

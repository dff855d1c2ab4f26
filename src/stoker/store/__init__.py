"""Durable jobs behind `ports.JobStore`: SQL and transactions, no decisions."""

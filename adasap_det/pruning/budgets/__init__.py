"""Budgets: parameters, MACs and measured latency, and the channels that meet them."""

"""Measured latency: tables of layers on the device at hand, and the cost that they give."""

from .latency_budget import LatencyBudget
from .latency_cost import LatencyCost
from .table import LatencyTable

__all__ = ['LatencyBudget', 'LatencyCost', 'LatencyTable']

"""Command line entry points, with the options of MMDetection's tools."""

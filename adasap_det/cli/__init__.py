"""Command line entry points: train and test, with the options of MMDetection's tools."""

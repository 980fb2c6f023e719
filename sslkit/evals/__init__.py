"""Evaluations: what a trained trunk is good for, measured with labels that it never saw."""

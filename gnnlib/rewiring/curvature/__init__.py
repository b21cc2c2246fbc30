"""Curvatures of edges: how much the surroundings of their two ends overlap."""

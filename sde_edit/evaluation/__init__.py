"""Turns the images of runs into scores; also holds what several metrics share."""

"""The mathematics that samplers share: schedules, noise, forward process, steps, inversion."""

"""The mathematics that samplers share: schedules, grids, single steps, noise, inversion."""

"""Values and rules of the market and of a sync: no I/O, no clock, no framework."""

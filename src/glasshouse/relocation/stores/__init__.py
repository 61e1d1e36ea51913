"""Foreign object stores, as vendors have them: what a move lists, reads, watches and erases."""

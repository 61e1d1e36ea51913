"""`glasshouse demo`: the whole initiative on one machine, its honest story and the cheats it catches."""

"""The pure core: values in, values out. No clock, chance, I/O, log or SDK in here."""

"""The service desk: what people on duty see, decide and are told; the console shows it."""

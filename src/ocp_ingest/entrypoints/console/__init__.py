"""The console: server-rendered pages for the people on duty, in Spanish and English."""

"""Channels for alerts: webhook, e-mail (SMTP), SNS."""

"""People's log-in at an OpenID Connect provider."""

"""Tokens: who calls (checker), whose keys say so (keys), and the issuer of the embedded runtime.

Token time is REAL time, whatever scale domain time has: `now_s` is an argument everywhere.
"""

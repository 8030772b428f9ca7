"""Breakage: what kills processes and cuts connections, for whoever wants to see what becomes of a sale then."""

"""Venue servers on loopback that speak the true protocols: thin fronts on the exchange core, for real client libraries."""

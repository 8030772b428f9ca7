"""The machine-sized cloud: everything that AWS and Stripe do for Holdfast, on one machine and without accounts."""

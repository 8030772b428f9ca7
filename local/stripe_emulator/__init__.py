"""A stateful emulator of the part of Stripe's HTTP API that takes payments."""

"""What several functions do with a payment: make it at Stripe, close it, and settle what Stripe says of it."""

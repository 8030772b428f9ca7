"""`make fuzz`: every function called with what its document allows, and with what it does not."""

"""`docs/openapi.json`, made from the functions' code: nothing in it is written by hand."""

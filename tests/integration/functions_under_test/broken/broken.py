"""Cannot even be imported."""

import importlib

print("about to import what is not there")
answer = importlib.import_module("a_package_that_no_layer_has").answer

"""Cannot even be imported."""

print("about to import what is not there")
import a_package_that_no_layer_has  # noqa: E402, F401  # pyright: ignore[reportMissingImports] - the point of it

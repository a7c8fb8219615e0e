"""What the product is made from: vendored files, locked packages, images, licences, and the bill that lists them.

None of it is part of the product; `make` and CI run it.
"""

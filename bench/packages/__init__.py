"""tether's sweep over other people's packages: one module a package.

`python -m bench packages [name ...]` sweeps them and prints a table. What it finds is
shown again, without tether, by the scripts in `confirm`.
"""

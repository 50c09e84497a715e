"""`python -m nsd_bench`: the command `nsd-bench`, where it is not on the path."""

from nsd_bench.cli import main

main()

"""`python -m ntro_runtime`: the supervisor."""

from .supervisor import main

main()

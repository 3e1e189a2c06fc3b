"""`python -m ntro_runtime`: the supervisor."""

from .supervisor.supervisor import main

main()

"""Import surface of `temporalio` for runbooks that run on the ntro runtime."""

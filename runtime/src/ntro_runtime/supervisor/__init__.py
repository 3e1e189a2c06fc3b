"""What may see the pod's token: process 1 of the runner. Nothing else imports it."""

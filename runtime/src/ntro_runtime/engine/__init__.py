"""The confined process that runs a bundle: replay, live execution, attempts of activities, and how the process ends."""

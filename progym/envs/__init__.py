"""Programs as environments: modules, rendering, parsing, episodes, tasks and their data."""

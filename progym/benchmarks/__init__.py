"""The same questions asked of every strategy: suites, statistics, tables and pictures."""

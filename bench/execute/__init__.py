"""Running jobs: workers, executors, the scheduler, displays."""

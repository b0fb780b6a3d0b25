"""From cells to records: the task contract, the plan, the runner, the worker, the records on disk."""
